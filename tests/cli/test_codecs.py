"""Every command on files whose pools and kept tensors are coded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.blobs import needs
from tests.cli.harness import Calls, Run
from wpack import codecs
from wpack.chain import Chain

SPEC = """\
version: 1
pools:
  a: {tensors: ["a.*"], ratio: 2, codecs: [prune: 0.5, int: {bits: 4}, zstd]}
  b: {tensors: ["b.*"], ratio: 1, codecs: [bfloat16]}
  c: {tensors: ["c.*"], ratio: 1}
keep_codecs: {"*.bias": [int, zstd]}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a checkpoint ``m.safetensors`` and a spec."""
    draw = np.random.default_rng(0)
    tensors = {"n.weight": draw.normal(size=8).astype("f4")}
    for name in "abc":
        tensors[f"{name}.weight"] = draw.normal(size=(64, 48)).astype("f4")
        tensors[f"{name}.bias"] = draw.normal(size=48).astype("f4")
    save_file(tensors, tmp_path / "m.safetensors")
    (tmp_path / "s.yaml").write_text(SPEC)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(run: Run, *arguments: str) -> dict[str, Any]:
    """What a command that succeeds prints as JSON."""
    result = run(*arguments, "--json")
    assert result.status == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@needs("prune, int, bfloat16, zstd")
def test_the_way_there_and_back(run: Run, folder: Path) -> None:
    """plan, compress, stats, verify, inflate, diff."""
    planned = document(run, "plan", "m.safetensors", "-s", "s.yaml")
    packed = document(run, "compress", "m.safetensors", "-s", "s.yaml", "-o", "m.wpool")
    (file,) = document(run, "stats", "m.wpool", "--load")["files"]
    size = (folder / "m.wpool").stat().st_size
    stored = sum(tensor["stored_bytes"] for tensor in file["tensors"])

    assert not planned["stats"]["exact"]
    assert size <= planned["stats"]["file_bytes"]
    assert size == packed["stats"]["file_bytes"] == file["file_bytes"]
    assert size == stored + file["header_bytes"]
    assert packed["stats"]["exact"]
    assert packed["stats"]["pools"] == file["pools"]
    assert packed["stats"]["groups"] == file["groups"]
    assert [pool["codecs"] for pool in file["pools"]] == [
        ["prune", "int", "zstd"],
        ["bfloat16"],
        [],
    ]
    assert file["load"]["backend"] != "mmap"
    assert file["load"]["decoded_bytes"] == file["decoded_bytes"]
    assert run("verify", "m.wpool").out == "m.wpool: ok\n"
    assert run("inflate", "m.wpool", "-o", "back.safetensors").status == 0
    assert run("diff", "m.wpool", "back.safetensors").status == 0
    assert run("inflate", "m.wpool", "-o", "back.pt").status == 0
    assert run("diff", "m.wpool", "back.pt").status == 0


@needs("prune, int, bfloat16, zstd")
def test_what_people_see(run: Run, folder: Path) -> None:
    """The most that a file can take before it is written, its stages after."""
    arguments = ("compress", "m.safetensors", "-s", "s.yaml", "-o", "m.wpool")
    dry = run(*arguments, "-n").out
    made = run(*arguments).out

    assert "m.wpool would take at most " in dry
    assert "prune+int+zstd" in dry
    assert "at most" not in made
    for title in ("prune", "bfloat16", "zstd", "entropy", "over"):
        assert title in made
    assert "(3 kept)" in made
    assert max(map(len, made.splitlines())) <= 80


@needs("prune, int, bfloat16, zstd")
def test_mmap_is_refused(run: Run, folder: Path) -> None:
    """Wrong usage, with the way out."""
    run("compress", "m.safetensors", "-s", "s.yaml", "-o", "m.wpool")
    result = run("stats", "m.wpool", "--backend", "mmap")

    assert (2, "") == (result.status, result.out)
    assert "Use backend memfd or auto" in result.err


@needs("int, zstd")
def test_codecs_without_a_spec(run: Run, folder: Path) -> None:
    """``--codec`` goes with ``--ratio``; what was made says so in its own spec."""
    arguments = ("--ratio", "2", "--codec", "int=4", "--codec", "zstd")
    stats = document(run, "compress", "m.safetensors", *arguments, "-o", "m.wpool")
    again = document(
        run, "plan", "m.safetensors", *arguments, "--set", "pools.main.ratio=3"
    )

    assert [["int", "zstd"]] == [pool["codecs"] for pool in stats["stats"]["pools"]]
    (pool,) = again["plan"]["pools"]
    assert [{"name": "int", "bits": 4}, {"name": "zstd"}] == pool["codecs"]
    assert 9216 // 3 == pool["backing"]


@pytest.mark.parametrize("name", codecs.names())
def test_every_codec_by_its_name(run: Run, api: Calls, name: str) -> None:
    """Each can be asked for without a value."""
    api.gives["plan"] = KeyboardInterrupt()
    run("plan", "m.safetensors", "--ratio", "2", "--codec", name)
    (_, (_, spec), _) = api.made[-1]

    assert Chain((codecs.named(name)(),)) == spec.pools["main"].chain


@needs("int, zstd")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ("--ratio", "2", "--codec", "int=9"),
            "--codec: pools.main.codecs.0.int: bits must be from 2 to 8, got 9",
        ),
        (
            ("--ratio", "2", "--codec", "itn=4"),
            "--codec: pools.main.codecs.0: unknown codec 'itn', did you mean 'int'?",
        ),
        (
            ("--ratio", "2", "--codec", "zstd", "--codec", "int"),
            "--codec: pools.main.codecs: int must come before zstd",
        ),
        (
            ("--ratio", "2", "--codec", "int=four"),
            "--codec: pools.main.codecs.0.int.bits: should be a whole number, not"
            " 'four'",
        ),
        (
            ("-s", "s.yaml", "--codec", "zstd"),
            "--codec and --spec cannot be used together. --set"
            " pools.NAME.codecs=[zstd] changes a pool of the spec",
        ),
        (("--codec", "zstd"), "neither --spec nor --ratio is given"),
    ],
)
def test_codecs_that_cannot_be(
    run: Run, api: Calls, arguments: tuple[str, ...], expected: str
) -> None:
    """Said before anything is read, with exit status 2."""
    result = run("plan", "m.safetensors", *arguments)

    assert (result.status, result.err) == (2, f"wpack: error: {expected}\n")
    assert api.made == []
