"""The command line as a process: start-up, pipes, closed and full streams, signals,
encodings.  A process costs a third of a second, so what needs none is tested elsewhere.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import wpack

ROOT = Path(wpack.__file__).parents[1]
WPACK = [sys.executable, "-m", "wpack"]

# Runs main() and then prints the top-level modules that it imported.
_TRACED = """
import atexit, sys
atexit.register(
    lambda: sys.stderr.write(" ".join({m.partition(".")[0] for m in sys.modules}))
)
from wpack.__main__ import main
main()
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A .safetensors of one tensor with a Greek name."""
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"λ.weight": entry}, ensure_ascii=False).encode()
    path = tmp_path / "m.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A plain environment whose temporary files go to a folder of the test's."""
    (tmp_path / "tmp").mkdir()
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path / "tmp"),
        "LC_ALL": "C.UTF-8",
    }


def ended(
    command: list[object], environment: dict[str, str], **options: Any
) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a process."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        timeout=60,
        check=False,
        **options,
    )
    return done.returncode, (done.stdout or b"").decode(), (done.stderr or b"").decode()


def processor_time(command: list[str], environment: dict[str, str]) -> float:
    """Seconds of processor time that a process takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended([*command], environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (("--help",), {"torch", "numpy", "rich", "pydantic", "yaml"}),
        (("stats", "FILE"), {"torch", "accelerate"}),
        (("stats", "FILE", "--json"), {"torch", "accelerate", "rich"}),
    ],
)
def test_start_up(
    environment: dict[str, str],
    checkpoint: Path,
    arguments: tuple[str, ...],
    unwanted: set[str],
) -> None:
    """Help and stats answer within 0.3 s, and import nothing that they do not use.

    On a machine that is too slow or too busy to import numpy in 0.14 s it is that time
    that counts, twice.
    """
    words = [str(checkpoint) if word == "FILE" else word for word in arguments]
    command = [sys.executable, "-c", _TRACED, *words]
    status, _, imported = ended(command, environment)

    assert status == 0
    assert unwanted & set(imported.split()) == set()

    numpy = [sys.executable, "-c", "import numpy"]
    seconds, unit = [], []
    for _ in range(3):
        seconds.append(processor_time(command, environment))
        unit.append(processor_time(numpy, environment))

    assert min(seconds) <= max(0.3, 2.1 * min(unit))


@pytest.mark.parametrize("arguments", [("--help",), ("stats", "FILE")])
def test_nobody_reads(
    environment: dict[str, str], checkpoint: Path, arguments: tuple[str, ...]
) -> None:
    """A pipe that was closed ends the process in silence, with 141."""
    words = [str(checkpoint) if word == "FILE" else word for word in arguments]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        status, _, err = ended([*WPACK, *words], environment, stdout=writing)
    finally:
        os.close(writing)

    assert (status, err) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--help",), "No space left on device"),
        (("env",), "stdout: cannot be written: No space left on device"),
    ],
)
def test_a_full_disk(
    environment: dict[str, str], arguments: tuple[str, ...], expected: str
) -> None:
    """A result that could not be written is an error of one line."""
    with open("/dev/full", "wb") as full:
        status, _, err = ended([*WPACK, *arguments], environment, stdout=full)

    assert (status, err) == (1, f"wpack: error: {expected}\n")


def test_closed_stdout(environment: dict[str, str]) -> None:
    """So is one for which there is no stream."""
    command = ["sh", "-c", 'exec "$0" "$@" >&-', *WPACK, "env"]
    status, _, err = ended(command, environment)

    assert status == 1
    assert err == "wpack: error: stdout: cannot be written: Bad file descriptor\n"


def test_closed_stdin(environment: dict[str, str]) -> None:
    """Reading from a closed stdin is wrong usage."""
    command = ["sh", "-c", 'exec "$0" "$@" <&-', *WPACK, "verify", "-"]
    status, _, err = ended(command, environment)

    assert (status, err) == (2, "wpack: error: -: stdin is closed\n")


def test_closed_stderr(environment: dict[str, str]) -> None:
    """Without stderr the exit status still tells."""
    command = ["sh", "-c", 'exec "$0" "$@" 2>&-', *WPACK, "stats", "no-such-file"]

    assert ended(command, environment) == (1, "", "")


@pytest.mark.parametrize("variable", ["LC_ALL", "PYTHONIOENCODING"])
def test_ascii(environment: dict[str, str], checkpoint: Path, variable: str) -> None:
    """What an encoding cannot write is escaped, on both streams."""
    value = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}[variable]
    # Python would turn the C locale into UTF-8 by itself.
    strict = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", variable: value}
    command = [*WPACK, "stats", checkpoint, checkpoint.with_name("µ")]
    status, _, err = ended(command, {**environment, **strict})

    assert status == 1
    assert "\\xb5" in err or "\\udcc2" in err

    status, out, err = ended(command[:-1], {**environment, **strict})

    assert (status, err) == (0, "")
    assert "\\u03bb.weight" in out
    assert out.isascii()


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_signals(
    environment: dict[str, str], tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """Interrupted while it waits for its input, it leaves nothing behind."""
    process = subprocess.Popen(
        [*WPACK, "verify", "-"],
        env=environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while not list((tmp_path / "tmp").glob("wpack-*/stdin")):
            assert process.poll() is None
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()

    assert process.returncode == status
    assert b"Traceback" not in err
    assert list((tmp_path / "tmp").iterdir()) == []


def test_no_home_and_no_folder(environment: dict[str, str], tmp_path: Path) -> None:
    """Without HOME, in a folder that was deleted, there is still help."""
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$0" && rmdir "$0" && exec "$@" --help'
    status, out, _ = ended(["sh", "-c", script, gone, *WPACK], environment)

    assert status == 0
    assert out.startswith("Usage: wpack ")


# Says whether exit functions were called, and whether Python was taken down.
_LEAVING = """
import atexit, sys
class Held:
    def __del__(self, say=print):
        say("taken down")
sys.modules["held"] = Held()
atexit.register(print, "left")
sys.argv[0] = "wpack"
from wpack.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("count", "ends"), [("1", "left\ntaken down\n"), ("2", "left\n")]
)
@pytest.mark.parametrize(("word", "status"), [("--version", 0), ("nonsense", 2)])
def test_one_of_several_is_not_taken_down(
    count: str, ends: str, word: str, status: int
) -> None:
    """What was registered for the end is done, streams are flushed and the exit status
    is the same; but no thread finds the interpreter gone."""
    done = subprocess.run(
        [sys.executable, "-c", _LEAVING, word],
        env={**os.environ, "WORLD_SIZE": count},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    before, left, after = done.stdout.partition("left\n")

    assert status == done.returncode
    assert (status == 0) == before.startswith("wpack ")
    assert ends == left + after
