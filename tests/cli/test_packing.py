"""``wpack plan`` and ``wpack compress``: what they ask of the api and print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cli.harness import Calls, Run


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


def test_calibrate(run: Run, api: Calls, packed: SimpleNamespace) -> None:
    """Its task, its batches and the device go in only where it is asked for."""
    api.gives["compress"] = packed
    given = ["compress", "m.pt", "--ratio", "2", "-o", "o", "--calibrate"]
    run(*given, "spec", "--calibrate-batches", "7", "--device", "cpu")
    _, _, options = api.made[-1]

    assert ("spec", 7, "cpu") == (
        options["calibrate"],
        options["calibrate_batches"],
        options["device"],
    )

    run(*given, "./task.py:task")

    assert "calibrate_batches" not in api.made[-1][2]


def test_batches_of_no_calibration(run: Run, api: Calls) -> None:
    """An option that would do nothing is refused."""
    result = run("compress", "m.pt", "--ratio", "2", "-o", "o", "--calibrate-batches=3")

    assert (result.status, result.err) == (
        2,
        "wpack: error: --calibrate-batches is given, and --calibrate is not."
        " --calibrate names the task whose training data to pass\n",
    )
    assert api.made == []


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
