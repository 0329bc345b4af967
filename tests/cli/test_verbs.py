"""What each command asks of the api, and what it prints."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.cli.harness import Calls, Run
from wpack.errors import FormatError
from wpack.events import Evaluated, Event, Finished, Note, Saved, Step
from wpack.stats import FileStats

FINISHED = Finished(7, "accuracy", {}, {"test": {"accuracy": 0.75}})


def test_plan(run: Run, api: Calls, planned: SimpleNamespace) -> None:
    """The plan on stdout, the notes on stderr."""
    api.gives["plan"] = planned
    result = run("plan", "m.pt", "--ratio", "2", "--key", "ema")
    name, (checkpoint, spec), options = api.made[-1]

    assert result.status == 0
    assert (name, checkpoint, options) == ("plan", "m.pt", {"key": "ema"})
    assert spec.pools["main"].ratio == 2.0
    assert result.err == "wpack: note: kept: head.weight\n"
    assert result.out.endswith(
        "the file would take 164 bytes for 100 bytes of tensors: 25 free parameters"
        " for\n25 working, ratio 1.00\n"
    )


def test_plan_json(run: Run, api: Calls, planned: SimpleNamespace) -> None:
    """One document with plan, cost and notes."""
    api.gives["plan"] = planned
    document = json.loads(run("plan", "m.pt", "--ratio", "2", "--json").out)

    assert list(document) == ["schema_version", "plan", "stats", "notes", "output"]
    assert document["plan"]["alignment"] == 64


def test_compress(
    run: Run, api: Calls, packed: SimpleNamespace, tmp_path: Path
) -> None:
    """A spec with overrides goes in, the cost of input and output comes out."""
    api.gives["compress"] = packed
    spec = tmp_path / "pools.yaml"
    spec.write_text("version: 1\npools:\n  a: {tensors: ['*'], ratio: 2}\n")
    result = run(
        "compress", "m.pt", "-s", spec, "--set", "pools.a.ratio=3", "-o", "o", "-f"
    )
    _, (checkpoint, made, output), options = api.made[-1]

    assert result.status == 0
    assert (checkpoint, output) == ("m.pt", "o")
    assert made.pools["a"].ratio == 3
    assert callable(options.pop("progress"))
    assert options == {"force": True, "key": None, "fail_on_nan": False}
    assert result.out.endswith("wrote m.wpool: 164 bytes\n")


def test_dry_run(run: Run, api: Calls, planned: SimpleNamespace) -> None:
    """Nothing is compressed, and what would be written is named."""
    api.gives["plan"] = planned
    result = run("compress", "m.pt", "--ratio", "2", "-o", "out.wpool", "-n")

    assert [name for name, _, _ in api.made] == ["plan"]
    assert "\nout.wpool would take 164 bytes" in result.out


def test_set_without_a_spec(run: Run, api: Calls, planned: SimpleNamespace) -> None:
    """--set works on --ratio's spec as well."""
    api.gives["plan"] = planned
    run("plan", "m.pt", "--ratio", "2", "--set", "keep=[head.*]")

    assert api.made[-1][1][1].keep == ("head.*",)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "neither --spec nor --ratio is given"),
        (
            ("--ratio", "2", "-s", "x"),
            "--ratio and --spec cannot be used together. --set pools.NAME.ratio=2"
            " changes a pool of the spec",
        ),
        (
            ("--ratio", "nan"),
            "Invalid value for '--ratio': 'nan' is not a finite number from 1."
            " See 'wpack plan --help'",
        ),
        (
            ("--ratio", "0.5"),
            "Invalid value for '--ratio': '0.5' is not a finite number from 1."
            " See 'wpack plan --help'",
        ),
        (
            ("--ratio", "two"),
            "Invalid value for '--ratio': 'two' is not a number."
            " See 'wpack plan --help'",
        ),
    ],
)
def test_which_spec(
    run: Run, api: Calls, arguments: tuple[str, ...], expected: str
) -> None:
    """One of --spec and --ratio, and a ratio that can be."""
    result = run("plan", "m.pt", *arguments)

    assert (result.status, result.err) == (2, f"wpack: error: {expected}\n")
    assert api.made == []


def test_spec_from_stdin(
    run: Run,
    api: Calls,
    planned: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """``-s -`` reads stdin, and says so when that is closed."""
    api.gives["plan"] = planned
    spec = tmp_path / "spec"
    spec.write_text("version: 1\npools: {b: {tensors: ['*'], ratio: 2}}\n")
    with open(spec) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)

        assert run("plan", "m.pt", "-s", "-").status == 0
    assert list(api.made[-1][1][1].pools) == ["b"]

    monkeypatch.setattr(sys, "stdin", None)
    result = run("plan", "m.pt", "-s", "-")

    assert result.status == 2
    assert result.err == "wpack: error: --spec -: stdin is closed\n"


def test_spec_mistakes(run: Run, tmp_path: Path) -> None:
    """All mistakes at once, with their places, and exit status 2."""
    spec = tmp_path / "s.yaml"
    spec.write_text("version: 1\nkep: []\npools:\n  a: {ratio: -1, tensors: ['*']}\n")
    result = run("plan", "m.pt", "-s", spec)

    assert result.status == 2
    assert [line.split(": ")[2] for line in result.err.splitlines()] == [
        f"{spec}:2:1",
        f"{spec}:4:14",
    ]


def test_inflate(run: Run, api: Calls, tmp_path: Path) -> None:
    """Limits are passed on; the result is the file and its size."""
    output = tmp_path / "o.safetensors"
    api.gives["inflate"] = lambda path, out, **_: Path(out).write_bytes(b"x" * 2048)
    result = run("inflate", "m.wpool", "-o", output, "--max-working-bytes", "4MiB")
    _, given, options = api.made[-1]
    assert callable(options.pop("progress"))

    assert given == ("m.wpool", str(output))
    assert options == {"force": False, "max_working_bytes": 4 << 20}
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
    assert options["max_header"] == 64 << 20
    assert options["max_working_bytes"] == 1 << 30


def test_stats(run: Run, api: Calls, stats: FileStats) -> None:
    """Every file is asked for, in the order given."""
    api.gives["stats"] = lambda path, backend: stats
    result = run("stats", "a.wpool", "b.pt", "--no-tensors", "--backend", "memfd")

    assert [made[1:] for made in api.made] == [
        (("a.wpool",), {"backend": "memfd"}),
        (("b.pt",), {"backend": "memfd"}),
    ]
    assert result.out.splitlines()[2].startswith("a.wpool  wpool")
    assert result.out.splitlines()[3].startswith("b.pt     wpool")
    assert "head.weight" not in result.out


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

    def look(path: str, backend: str) -> FileStats:
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


@pytest.fixture
def events(api: Calls, stats: FileStats) -> list[Event]:
    """What a run of one step yields."""
    found: list[Event] = [
        Note("projected"),
        Step(1, 1, 1.0, 0.5, 0.1, 10.0, 0.0),
        Evaluated(1, "validation", {"accuracy": 0.75}, "accuracy", True),
        Saved(1, Path("o.run/step-000001")),
        FINISHED,
    ]

    def finetune(*args: Any, **kwargs: Any) -> Iterator[Event]:
        print("loading data")
        yield from found

    api.gives.update(finetune=finetune, stats=stats)
    return found


def test_finetune(run: Run, api: Calls, events: list[Event]) -> None:
    """Progress on stderr, the result on stdout, whatever the task prints."""
    result = run(
        "finetune", "m.pt", "--ratio", "2", "-o", "o", "--task", "t:t", "--resume",
        "auto",
    )  # fmt: skip
    _, (checkpoint, _, output), options = api.made[0]

    assert result.status == 0
    assert (checkpoint, output) == ("m.pt", "o")
    assert options.pop("stop")() == 0
    assert options == {
        "force": False,
        "key": None,
        "task": "t:t",
        "run": None,
        "resume": "auto",
        "device": "auto",
    }
    assert result.err == (
        "loading data\n"
        "wpack: note: projected\n"
        "wpack: step 1 of 1, epoch 1.00: loss 0.5, learning rate 0.1, 10 samples/s,"
        " 0 s left\n"
        "wpack: step 1, validation: accuracy 0.75, the best so far\n"
        "wpack: step 1: saved o.run/step-000001\n"
    )
    assert result.out.startswith("split  metric    before  after\n")


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-q", "loading data\n"),
        ("--no-progress", "loading data\nwpack: note: projected\n"),
    ],
)
def test_finetune_quietly(
    run: Run, events: list[Event], option: str, expected: str
) -> None:
    """--no-progress leaves the notes, --quiet nothing of ours."""

    assert expected == run("finetune", "m", "--ratio", "2", "-o", "o", option).err


def test_finetune_needs_a_file(run: Run, api: Calls) -> None:
    """There is nowhere to keep a run beside stdout."""
    result = run("finetune", "m.pt", "--ratio", "2", "-o", "-")

    assert (result.status, api.made) == (2, [])
    assert result.err == (
        "wpack: error: Invalid value for '-o' / '--output': it needs a file, not"
        " stdout. See 'wpack finetune --help'\n"
    )


def test_notes_are_few(run: Run, api: Calls, planned: SimpleNamespace) -> None:
    """The first eight notes, all with -v, none with -q."""
    planned.notes = tuple(f"note {i}" for i in range(10))
    api.gives["plan"] = planned
    arguments = ("plan", "m.pt", "--ratio", "2")

    assert run(*arguments).err.splitlines()[7:] == [
        "wpack: note: note 7",
        "wpack: note: and 2 more (-v shows all)",
    ]
    assert run(*arguments, "-v").err.endswith("wpack: note: note 9\n")
    assert run(*arguments, "-q").err == ""


def test_spec_schema(run: Run) -> None:
    """JSON Schema on stdout."""
    result = run("spec", "schema")

    assert "$defs" in json.loads(result.out)


def test_spec_check(
    run: Run, api: Calls, planned: SimpleNamespace, tmp_path: Path
) -> None:
    """A good spec is ok; with a checkpoint it is planned, too."""
    api.gives["plan"] = planned
    spec = tmp_path / "s.yaml"
    spec.write_text("version: 1\npools: {a: {tensors: ['*'], ratio: 2}}\n")

    assert run("spec", "check", spec).out == f"{spec}: ok, 1 pool: a\n"
    assert run("spec", "check", spec, "--set", "pool=2").status == 2
    assert api.made == []

    result = run("spec", "check", spec, "m.pt")

    assert result.err == "wpack: note: kept: head.weight\n"
    assert api.made[-1][1][0] == "m.pt"


def test_spec_init(run: Run, api: Calls, tmp_path: Path) -> None:
    """A starter for the checkpoint's own tensors, to stdout or a file."""
    from wpack.tensors import FLOAT32, TensorInfo

    api.gives["infos"] = [TensorInfo(f"b.{i}.w", FLOAT32, (9, 9)) for i in range(3)]
    output = tmp_path / "pools.yaml"
    text = run("spec", "init", "m.pt").out

    assert text.startswith("# Pool spec for m.pt\n")
    assert run("spec", "init", "m.pt", "-o", output).status == 0
    assert output.read_text() == text
    assert run("spec", "init", "m.pt", "-o", output).status == 2
    assert json.loads(run("spec", "init", "m.pt", "--json").out)["spec"] == text
