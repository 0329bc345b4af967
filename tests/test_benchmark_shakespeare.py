"""The benchmark of a language model, on a text of its own and for one step."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.shakespeare import compare
from benchmarks.shakespeare.compare import HERE, KINDS, RATIOS, UNTIED, arms
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
    spec = load(HERE / f"{name}.yaml")
    plan = make_plan(spec, infos()).plan
    one = load(HERE / "one.yaml").finetune

    assert POOLED == sum(pool.working for pool in plan.pools)
    assert spec.finetune is not None
    assert one is not None
    if name == "base":
        assert {1.0} == {pool.ratio for pool in spec.pools.values()}
    else:
        assert one == spec.finetune


@pytest.mark.parametrize("kind", KINDS)
def test_arms_differ_in_ratios_alone(kind: str) -> None:
    """Every pool of an arm has its ratio; the untied arm is among the first kind's."""
    found = {arm.name: set(arm.settings.values()) for arm in arms(kind)}
    expected = {f"{kind} {ratio:g}": {ratio} for ratio in RATIOS}
    if kind == next(iter(KINDS)):
        expected = {UNTIED: {1.0}, **expected}

    assert expected == found


def test_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm's point is of its chosen rate, and is compared seed by seed."""
    monkeypatch.setattr(compare, "RATIOS", (2.0,))

    def run(arm: str, seed: int, rate: float, loss: float) -> dict[str, Any]:
        metrics = {"loss": loss, "accuracy": 0.5}
        sizes = {"free_parameters": 7, "nbytes": 9}
        return {"arm": arm, "seed": seed, "rate": rate, "metrics": metrics, **sizes}

    losses = {UNTIED: (1.0, 2.0), "one pool 2": (1.5, 2.3), "split pools 2": (1, 2)}
    runs = [run(n, seed, 0.1, losses[n][seed]) for n in losses for seed in (0, 1)]
    runs.append(run("one pool 2", 0, 0.2, 9.0))
    document = {
        "chosen_rates": dict.fromkeys(sorted(losses), 0.1),
        "runs": runs,
        "checkpoint": {"loss": 3.0},
        "projected": [
            {"arm": "one pool 2", "metrics": {"loss": 4.0}},
            {"arm": "split pools 2", "metrics": {"loss": 5.0}},
        ],
    }
    found = compare.points(document)
    one = found[1]

    assert list(losses) == [point["arm"] for point in found]
    assert [3.0, 4.0, 5.0] == [point["projected"] for point in found]
    assert (2, 1.9) == (one["runs"], pytest.approx(one["loss"]))
    assert pytest.approx([0.5, 0.3]) == one["gaps"]
    assert pytest.approx(0.4) == one["gap"]
    assert pytest.approx(0.8 / 2**0.5) == one["deviation"]


def test_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each arm has a point, with a loss before and after its training; there is a table
    and a figure."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(compare, "RATIOS", (2.0,))
    monkeypatch.setenv("WPACK_DATA", str(tmp_path))
    (tmp_path / "text").mkdir()
    text = "The quality of mercy is not strain'd.\n" * 160
    (tmp_path / "text" / "tinyshakespeare.txt").write_text(text)
    torch.manual_seed(0)
    checkpoint, results = tmp_path / "base.safetensors", tmp_path / "found.json"
    save_file(GPT().state_dict(), checkpoint)
    words = ["--checkpoint", str(checkpoint), "--json", str(results)]
    compare.main([*words, "--steps", "1", "--seeds", "3", "--rates", "0.001"])
    document = json.loads(results.read_text())
    points = {point["arm"]: point for point in document["points"]}

    assert [UNTIED, "one pool 2", "split pools 2"] == list(points)
    assert results.with_suffix(".png").exists()
    assert "| split pools 2 |" in capsys.readouterr().out
    assert document["checkpoint"]["loss"] == points[UNTIED]["projected"]
    for name, point in points.items():
        assert 1 == point["runs"] == len(point["gaps"])
        assert point["loss"] < document["checkpoint"]["loss"]
        assert (POOLED if name == UNTIED else POOLED // 2) == (
            point["free_parameters"] - KEPT
        )
