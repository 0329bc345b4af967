"""Everything that wpack writes, at every system call of it: failing in four ways, and
killed (W01, W02, W03, W04)."""

from __future__ import annotations

import errno
import functools
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from tests import jobs
from tests.faulty_os import FaultyOs
from tests.processes import ended
from tests.run_folders import CONFIG, listing
from wpack import api, durable
from wpack.errors import StorageError
from wpack.runs import Run
from wpack.spec import spec_from_ratio

OLD = b"the old file"
CODES = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EINTR)
#: Output → what writes it, in the current folder.
WRITERS: dict[str, Callable[[str], object]] = {
    "new.wpool": lambda path: api.compress(
        "m.safetensors", spec_from_ratio(2), path, force=True
    ),
    "new.safetensors": lambda path: api.inflate("m.wpool", path, force=True),
    "new.pt": lambda path: api.inflate("m.wpool", path, force=True),
    "report.html": lambda path: durable.write_text(path, "<p>é</p>", force=True),
}


def prepare() -> None:
    """What the writers read, into the current folder."""
    tensors = {
        "w": np.arange(256, dtype="f4").reshape(16, 16),
        "b": np.ones(3, "f4"),
        "n": np.arange(2, dtype="i8"),
    }
    save_file(tensors, "m.safetensors")
    WRITERS["new.wpool"]("m.wpool")


@contextmanager
def through(system: FaultyOs) -> Iterator[None]:
    """Whatever is written in the block makes its calls of this system."""
    real = durable.replacing

    def replacing(*args: Any, **options: Any) -> Any:
        return real(*args, **{**options, "os_": system})

    durable.replacing = replacing
    try:
        yield
    finally:
        durable.replacing = real


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, prepared."""
    monkeypatch.chdir(tmp_path)
    prepare()
    return tmp_path


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", WRITERS)
def test_w01_w02_w03_every_call_fails(folder: Path, name: str, code: int) -> None:
    """An error that is one of storage, or none and the new file; the old file until the
    new one has its name; nothing is left beside it; the next attempt works."""
    output, write = folder / name, WRITERS[name]
    write(name)
    new = output.read_bytes()
    files = set(listing(folder))
    system = FaultyOs()
    with through(system):
        write(name)
    renamed = system.calls.index("replace") + 1

    assert len(system.calls) >= 10
    for at in range(len(system.calls)):
        output.write_bytes(OLD)
        failed = False
        with through(FaultyOs(at, code)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # W12: a folder that cannot be flushed
            try:
                write(name)
            except StorageError as error:
                failed = str(error).startswith(f"{name}: ")

        assert (OLD if at < renamed and failed else new) == output.read_bytes()
        assert failed or code == errno.EACCES
        assert files == set(listing(folder))

    write(name)

    assert new == output.read_bytes()


def kill_everywhere(name: str) -> None:
    """Write a file again and again, killed at each of the calls in turn."""
    os.fsync = jobs.unflushed
    prepare()
    write = WRITERS[name]
    write(name)
    new = Path(name).read_bytes()
    files = set(listing(Path()))
    system = FaultyOs()
    with through(system):
        write(name)
    renamed = system.calls.index("replace")

    for at in range(len(system.calls)):
        Path(name).write_bytes(OLD)
        with through(FaultyOs(at, None)):
            assert -signal.SIGKILL == forked(lambda: write(name))
        assert (OLD if at <= renamed else new) == Path(name).read_bytes()
        left = set(listing(Path())) - files
        assert len(left) == (0 < at <= renamed)
        write(name)
        assert new == Path(name).read_bytes()
        assert files == set(listing(Path()))
    print(len(system.calls))


def forked(work: Callable[[], object]) -> int:
    """How a child ends that does some work."""
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("name", WRITERS)
def test_w04_killed_at_every_call(tmp_path: Path, name: str) -> None:
    """The old file or the new one, whole; what else is left goes with the next."""
    done = ended(tmp_path, kill_everywhere, name)

    assert "" == done.err
    assert 0 == done.status
    assert int(done.out) >= 10


def save_and_kill() -> None:
    """Save a third state of a run, killed at each of the calls in turn."""
    os.fsync = jobs.unflushed
    folder = Path("a.run")
    weights = {"w": torch.ones(3)}
    state = ({"scores": 1}, {"training": weights, "best": weights})
    with Run(folder) as run:
        run.start(CONFIG)
        run.save(1, *state)

    def save(step: int, system: FaultyOs) -> None:
        with Run(folder, resume=True, os_=system) as run:
            run.start(CONFIG)
            run.save(step, *state)

    count = FaultyOs()
    save(2, count)
    newest = 2
    for at in range(len(count.calls)):
        work = functools.partial(save, newest + 1, FaultyOs(at, None))
        assert -signal.SIGKILL == forked(work)
        with Run(folder, resume=True) as run:
            found = run.start(CONFIG)
        assert found is not None
        assert newest <= found.step <= newest + 1
        assert 1 == len(run.notes)
        assert not [name for name in listing(folder) if name.endswith(".tmp")]
        newest = found.step
    print(len(count.calls), newest)


def test_w04_run_killed_at_every_call(tmp_path: Path) -> None:
    """A run has a whole state to go on from: the old newest, or the new one."""
    done = ended(tmp_path, save_and_kill)

    assert "" == done.err
    assert 0 == done.status
    calls, newest = map(int, done.out.split())
    assert calls > 40
    assert newest > 2


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize("name", ["new.wpool", "new.safetensors", "new.pt"])
def test_w10_signal_while_writing(
    folder: Path, name: str, number: signal.Signals, status: int, times: int
) -> None:
    """A command that is interrupted leaves the old file and nothing beside it."""
    (folder / name).write_bytes(OLD)
    words = "compress m.safetensors --ratio 2" if "wpool" in name else "inflate m.wpool"
    before = set(listing(folder))
    moments = [("writing", times, number)]
    done = ended(folder, jobs.signalled, moments, *words.split(), "-o", name, "--force")

    assert status == done.status
    assert "" == done.out
    assert "Traceback" not in done.err
    assert OLD == (folder / name).read_bytes()
    assert before | {"out", "err"} == set(listing(folder))
