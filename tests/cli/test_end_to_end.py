"""The commands on real files, one after the other, as a user would."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.harness import Run

SPEC = """\
version: 1
split: {"*.qkv.weight": [q, k, v]}
pools:
  qk: {tensors: ["*.qkv.weight#q", "*.qkv.weight#k"], ratio: 2}
  rest: {tensors: ["*.qkv.weight#v", "*.fc.weight"], ratio: 3}
keep: [head.weight]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a checkpoint ``m.safetensors`` and a spec."""
    draw = np.random.default_rng(0)
    tensors = {"head.weight": draw.normal(size=(5, 8)).astype("f4")}
    for i in range(3):
        tensors[f"blocks.{i}.qkv.weight"] = draw.normal(size=(24, 8)).astype("f4")
        tensors[f"blocks.{i}.fc.weight"] = draw.normal(size=(16, 8)).astype("f4")
        tensors[f"blocks.{i}.fc.bias"] = draw.normal(size=16).astype("f4")
    save_file(tensors, tmp_path / "m.safetensors")
    (tmp_path / "pools.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_way_there_and_back(run: Run, folder: Path) -> None:
    """plan, compress, verify, stats, inflate, diff."""
    planned = json.loads(run("plan", "m.safetensors", "-s", "pools.yaml", "--json").out)
    made = run("compress", "m.safetensors", "-s", "pools.yaml", "-o", "m.wpool")

    assert made.status == 0
    assert planned["stats"]["file_bytes"] == (folder / "m.wpool").stat().st_size
    assert run("verify", "m.wpool").out == "m.wpool: ok\n"

    (file,) = json.loads(run("stats", "m.wpool", "--json").out)["files"]
    stored = sum(tensor["stored_bytes"] for tensor in file["tensors"])

    assert stored + file["header_bytes"] == file["file_bytes"]
    assert [pool["name"] for pool in file["pools"]] == ["qk", "rest"]

    assert run("inflate", "m.wpool", "-o", "back.safetensors").status == 0
    assert run("diff", "m.wpool", "back.safetensors").status == 0
    assert run("diff", "m.safetensors", "m.wpool").status == 1

    kept = load_file(folder / "m.safetensors")["head.weight"]

    assert (kept == load_file(folder / "back.safetensors")["head.weight"]).all()


def test_side_by_side(run: Run, folder: Path) -> None:
    """A .wpool beside the checkpoint that it came from."""
    run("compress", "m.safetensors", "--ratio", "2", "-o", "m.wpool")
    result = run("stats", "m.safetensors", "m.wpool", "--no-tensors")
    lines = result.out.splitlines()

    assert lines[0].split()[:3] == ["file", "format", "bytes"]
    assert lines[2].split()[:2] == ["m.safetensors", "safetensors"]
    assert lines[3].split()[:2] == ["m.wpool", "wpool"]
    assert max(map(len, lines)) <= 80


def test_outputs_are_not_overwritten(run: Run, folder: Path) -> None:
    """Not without --force, and then the old file is as it was."""
    (folder / "m.wpool").write_text("precious")
    arguments = ("compress", "m.safetensors", "--ratio", "2", "-o", "m.wpool")
    result = run(*arguments)

    assert result.status == 2
    assert result.err.startswith("wpack: error: m.wpool: exists. ")
    assert (folder / "m.wpool").read_text() == "precious"
    assert run(*arguments, "--force").status == 0
    assert run("verify", "m.wpool").status == 0


def test_through_pipes(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``stats -`` and ``verify -`` read what ``compress -o -`` would have written."""
    run("compress", "m.safetensors", "--ratio", "2", "-o", "m.wpool")
    for command in ("stats", "verify"):
        with open(folder / "m.wpool") as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            result = run(command, "-", "--json")

        assert result.status == 0
        assert json.loads(result.out)["files"][0]["path"] == "-"


def test_spec_init_check_plan(run: Run, folder: Path) -> None:
    """The starter spec fits the checkpoint that it was made for."""
    assert run("spec", "init", "m.safetensors", "-o", "new.yaml").status == 0
    assert run("spec", "check", "new.yaml", "m.safetensors").status == 0
    assert run("plan", "m.safetensors", "-s", "new.yaml").status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("stats", "absent"),
        ("plan", "absent", "--ratio", "2"),
        ("plan", "m.safetensors", "-s", "absent"),
        ("inflate", "absent", "-o", "x"),
        ("diff", "absent", "m.safetensors"),
        ("compress", "m.safetensors", "--ratio", "2", "-o", "no/folder/x"),
        ("compress", "m.safetensors", "--ratio", "2", "-o", "n" * 300),
        ("stats", "pools.yaml"),
        ("stats", "--", "-odd name\n"),
    ],
)
def test_bad_paths(run: Run, folder: Path, arguments: tuple[str, ...]) -> None:
    """What is not there, or is something else, is one line on stderr and no output."""
    result = run(*arguments)

    assert result.status in (1, 2)
    assert result.out == ""
    assert result.err.startswith("wpack: error: ")
    assert result.err.count("\n") == 1
    assert "internal error" not in result.err
    assert {f.name for f in folder.iterdir()} == {"m.safetensors", "pools.yaml"}
