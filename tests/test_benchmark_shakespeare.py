"""The benchmark of a language model, on a text of its own and for one step."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks import sharing
from benchmarks.shakespeare.compare import SUBJECT
from benchmarks.shakespeare.model import GPT
from wpack.planner import make_plan
from wpack.spec import load
from wpack.tensors import FLOAT32, TensorInfo

# The first optimiser that is made imports it: before the forks, and not in each.
importlib.import_module("torch._dynamo")

#: All matrices of the blocks: four times 12 · 128².
POOLED = 4 * 12 * 128**2
KEPT = sum(p.numel() for p in GPT().parameters()) - POOLED


def infos() -> list[TensorInfo]:
    """What a checkpoint of the network lists."""
    state = GPT().state_dict()
    return [TensorInfo(n, FLOAT32, tuple(t.shape)) for n, t in state.items()]


def test_a_token_sees_those_before_it() -> None:
    """A changed token changes what is predicted after it, and nothing before."""
    torch.manual_seed(0)
    model = GPT(vocabulary=9, length=6, width=8, heads=2).eval()
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    other = tokens.clone()
    other[0, 3] = 8
    with torch.no_grad():
        same = (model(tokens) == model(other)).all(-1)[0]

    assert [True, True, True, False, False, False] == same.tolist()


@pytest.mark.parametrize("name", ["base", "one", "split"])
def test_specs_pool_the_matrices_of_the_blocks(name: str) -> None:
    """All of them and nothing else, and all specs but the first share their recipe."""
    spec = load(SUBJECT.folder / f"{name}.yaml")
    plan = make_plan(spec, infos()).plan
    one = load(SUBJECT.folder / "one.yaml").finetune

    assert POOLED == sum(pool.working for pool in plan.pools)
    assert spec.finetune is not None
    assert one is not None
    if name == "base":
        assert {1.0} == {pool.ratio for pool in spec.pools.values()}
    else:
        assert one == spec.finetune


def test_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each arm has a point, with a loss before and after its training; there is a table
    and a figure."""
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("WPACK_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    text = "The quality of mercy is not strain'd.\n" * 160
    (tmp_path / "text" / "tinyshakespeare.txt").write_text(text)
    torch.manual_seed(0)
    checkpoint, results = tmp_path / "base.safetensors", tmp_path / "found.json"
    save_file(GPT().state_dict(), checkpoint)
    words = ["--checkpoint", str(checkpoint), "--json", str(results)]
    words += ["--steps", "1", "--seeds", "3", "--rates", "0.001", "--ratios", "2"]
    sharing.main(SUBJECT, words)
    document = json.loads(results.read_text())
    points = {point["arm"]: point for point in document["points"]}

    assert [sharing.UNTIED, "one pool 2", "split pools 2"] == list(points)
    assert results.with_suffix(".png").exists()
    assert "| split pools 2 |" in capsys.readouterr().out
    assert document["checkpoint"]["loss"] == points[sharing.UNTIED]["projected"]
    for name, point in points.items():
        assert 1 == point["runs"] == len(point["gaps"])
        assert point["loss"] < document["checkpoint"]["loss"]
        assert (POOLED if name == sharing.UNTIED else POOLED // 2) == (
            point["free_parameters"] - KEPT
        )
