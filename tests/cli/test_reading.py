"""``wpack stats``, ``inflate``, ``verify``, ``diff`` and ``eval``."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import Calls, Run
from wpack.errors import FormatError
from wpack.limits import Limits
from wpack.stats import FileStats, LoadStats


def test_inflate(run: Run, api: Calls, tmp_path: Path) -> None:
    """Limits are passed on; the result is the file and its size."""
    output = tmp_path / "o.safetensors"
    api.gives["inflate"] = lambda path, out, **_: Path(out).write_bytes(b"x" * 2048)
    result = run("inflate", "m.wpool", "-o", output, "--max-working-bytes", "4MiB")
    _, given, options = api.made[-1]
    assert callable(options.pop("progress"))

    assert given == ("m.wpool", str(output))
    assert options == {
        "force": False,
        "limits": Limits(max_working_bytes=4 << 20),
    }
    assert result.out == f"wrote {output}: 2.0 KiB (2,048 bytes)\n"


def test_inflate_to_stdout(
    api: Calls, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """``-o -`` gives the bytes and nothing else."""
    from wpack.cli import cli

    api.gives["inflate"] = lambda path, out, **_: Path(out).write_bytes(b"\0\xff\n")
    with pytest.raises(SystemExit, match=r"^0$"):
        cli.main(["inflate", "m.wpool", "-o", "-"])

    assert capfdbinary.readouterr() == (b"\0\xff\n", b"")


def test_a_terminal_is_no_file(
    run: Run, api: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes never go to a terminal."""
    monkeypatch.setattr("wpack.cli._files.sys.stdout.isatty", lambda: True)
    result = run("inflate", "m.wpool", "-o", "-")

    assert (result.status, api.made) == (2, [])
    assert result.err == "wpack: error: -o -: stdout is a terminal. Name a file\n"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("plan", ("plan", "m", "--ratio", "2")),
        ("compress", ("compress", "m", "--ratio", "2", "-o", "o")),
        ("finetune", ("finetune", "m", "--ratio", "2", "-o", "o")),
        ("inflate", ("inflate", "m", "-o", "o")),
        ("stats", ("stats", "m")),
        ("verify", ("verify", "m")),
        ("evaluate", ("eval", "m", "--task", "t:t")),
        ("diff", ("diff", "m", "n")),
    ],
)
def test_limits(
    run: Run,
    api: Calls,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: tuple[str, ...],
) -> None:
    """Whatever opens a file can be told its limits, by option or by variable."""
    api.gives[name] = FormatError("that will do")
    monkeypatch.setenv("WPACK_MAX_WORKING_BYTES", "1GiB")
    result = run(*arguments, "--max-header", "64MiB")
    _, _, options = api.made[-1]

    assert "that will do" in result.err + result.out
    assert options["limits"] == Limits(64 << 20, 1 << 30)


def test_stats(run: Run, api: Calls, stats: FileStats) -> None:
    """Every file is asked for, in the order given."""
    api.gives["stats"] = lambda path, **options: stats
    result = run("stats", "a.wpool", "b.pt", "--no-tensors", "--backend", "memfd")

    assert [made[1:] for made in api.made] == [
        (("a.wpool",), {"backend": "memfd", "load": False}),
        (("b.pt",), {"backend": "memfd", "load": False}),
    ]
    assert result.out.splitlines()[2].startswith("a.wpool  wpool")
    assert result.out.splitlines()[3].startswith("b.pt     wpool")
    assert "head.weight" not in result.out


def test_stats_of_loading(run: Run, api: Calls, stats: FileStats) -> None:
    """``--load`` is passed on, and what it took is shown."""
    load = LoadStats(1, 100, 0, 0, 0, 0, 0.0, 0, 0, 0.0, "mmap", 0.5)
    api.gives["stats"] = replace(stats, load=load)
    result = run("stats", "a.wpool", "--load")

    assert api.made[-1][2] == {"backend": "auto", "load": True}
    assert "total                 1    100       0         500.0" in result.out


def test_stats_json(run: Run, api: Calls, stats: FileStats) -> None:
    """The normative document."""
    api.gives["stats"] = stats
    document = json.loads(run("stats", "a.wpool", "--json").out)

    assert document["schema_version"] == 1
    assert document["files"][0]["path"] == "a.wpool"
    assert document["files"][0]["tensors"][0]["stored_bytes"] == 100


def test_stats_of_stdin(
    run: Run,
    api: Calls,
    stats: FileStats,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A pipe is spooled to a file of its own, which is gone afterwards."""
    (tmp_path / "in").write_bytes(b"\xffbytes")
    seen: dict[str, bytes] = {}

    def look(path: str, **options: Any) -> FileStats:
        seen[path] = Path(path).read_bytes()
        return stats

    api.gives["stats"] = look
    with open(tmp_path / "in") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        result = run("stats", "-")
    ((path, content),) = seen.items()

    assert content == b"\xffbytes"
    assert not Path(path).exists()
    assert result.out.splitlines()[2].startswith("-     wpool")

    monkeypatch.setattr(sys, "stdin", None)

    assert run("stats", "-").err == "wpack: error: -: stdin is closed\n"


def test_stats_html(run: Run, api: Calls, stats: FileStats, tmp_path: Path) -> None:
    """The page is written beside the table, and not over another file."""
    api.gives["stats"] = stats
    page = tmp_path / "page.html"
    result = run("stats", "a.wpool", "--html", page)

    assert page.read_text("utf-8").startswith("<!DOCTYPE html>")
    assert result.out.startswith("file ")
    assert result.err == f"wpack: wrote {page}\n"
    assert run("stats", "a.wpool", "--html", page).status == 2
    assert run("stats", "a.wpool", "--html", page, "--force").status == 0
    assert run("stats", "a.wpool", "--html", "-").out.startswith("<!DOCTYPE html>")


def test_verify(run: Run, api: Calls) -> None:
    """Every file is checked, and one bad one is enough for exit status 1."""

    def verify(path: str) -> tuple[str, ...]:
        if path == "broken":
            raise FormatError("truncated", where="broken", hint="Copy it again")
        return ("pool/q: its hash differs",) if path == "bad" else ()

    api.gives["verify"] = verify
    result = run("verify", "good", "bad", "broken")

    assert result.status == 1
    assert result.out == (
        "good: ok\nbad: 1 problem\n  pool/q: its hash differs\n"
        "broken: 1 problem\n  truncated. Copy it again\n"
    )
    assert run("verify", "good").status == 0


@pytest.mark.parametrize(("same", "status"), [(True, 0), (False, 1)])
def test_diff(run: Run, api: Calls, same: bool, status: int) -> None:
    """Exit status 1 means that they differ."""
    from wpack.diff import Difference

    only = () if same else ("w",)
    api.gives["diff"] = Difference(0.0, None, only, (), (), 3)
    result = run("diff", "a", "b")

    assert result.status == status
    assert result.out == ("no difference in 3 tensors\n" if same else "only in a: w\n")


def test_eval(run: Run, api: Calls) -> None:
    """Metrics on stdout; what the task prints goes to stderr."""

    def evaluate(path: str, task: str, **options: Any) -> dict[str, float]:
        print("loading data")
        return {"accuracy": 0.5}

    api.gives["evaluate"] = evaluate
    result = run("eval", "m.wpool", "--task", "t:t", "--batch-size", "8", "--json")

    assert api.made[-1] == (
        "evaluate",
        ("m.wpool", "t:t"),
        {"device": "auto", "batch_size": 8},
    )
    assert json.loads(result.out)["metrics"] == {"accuracy": 0.5}
    assert result.err == "loading data\n"
