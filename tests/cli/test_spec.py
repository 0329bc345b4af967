"""``wpack spec``."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from tests.cli.harness import Calls, Run


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
