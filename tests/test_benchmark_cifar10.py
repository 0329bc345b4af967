"""The comparison of ResNets on CIFAR-10: its arms, its figures, and a whole run of it
on a task of milliseconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.cifar10 import arms, compare, compare_plot
from benchmarks.cifar10.arms import INGREDIENTS, OURS, RECIPE, UNTIED, main_arms
from benchmarks.cifar10.resnet import ResNet
from benchmarks.trials import Arm, overrides
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.spec import load
from wpack.tasks import Task, TensorData
from wpack.tensors import FLOAT32, TensorInfo

SPEC = Path(compare.__file__).with_name("resnet.yaml")


class Noise(Task):
    """Two images of noise, a class each, many times: an accuracy that does not hang on
    the last bits of a prediction."""

    def model(self) -> ResNet:
        return ResNet(20)

    def data(self, split: str) -> TensorData:
        generator = torch.Generator().manual_seed(len(split))
        labels = torch.arange(128) % 2
        return TensorData(torch.randn(2, 3, 8, 8, generator=generator)[labels], labels)


noise = Noise()


def plan_of(arm: Arm, depth: int) -> Plan:
    """What an arm ties of a ResNet."""
    state = ResNet(depth).state_dict().items()
    infos = [
        TensorInfo(name, FLOAT32, tuple(value.shape))
        for name, value in state
        if value.is_floating_point()
    ]
    return make_plan(load(SPEC, overrides(arm.settings)), infos).plan


@pytest.mark.parametrize("depth", [20, 56])
@pytest.mark.parametrize("ratio", [1.44, 2.57])
def test_arms_store_the_same_number_of_weights(depth: int, ratio: float) -> None:
    """The recipe and wpack's way tie the same kernels alike; where fewer are tied, as
    many weights are stored, but for the rounding of pools that wrap."""
    first, second, last = arms.KERNELS[depth]
    every = first + second + last
    recipe, ours = (plan_of(arm, depth) for arm in main_arms(ratio, depth))
    layout = plan_of(arms.tied("x", ratio, ["layout"], depth), depth)

    assert recipe == ours
    assert [every] == [pool.working for pool in ours.pools]
    assert [last] == [pool.working for pool in layout.pools]
    page = 16 if depth == 20 else 1024  # weights that a pool is rounded up to
    for plan in (ours, layout):
        (pool,) = plan.pools
        assert 0 <= pool.backing + every - pool.working - every / ratio < page


def test_more_is_tied_where_the_last_stage_does_not_suffice() -> None:
    """It would be tied more than six to one: the two last stages are, instead."""
    plan = plan_of(arms.tied("x", 4, ["layout"], 20), 20)

    assert ["layer1"] == sorted({t.name[:6] for t in plan.kept if "conv" in t.name[6:]})
    assert 0 <= plan.pools[0].backing + 13_824 - 267_264 / 4 < 16


def test_the_recipe_is_the_papers() -> None:
    """Means in one ring, no repair, labels alone."""
    recipe, _ = main_arms(2.57, 20)
    spec = load(SPEC, overrides(recipe.settings))

    assert ["none"] == [pool.repair for pool in spec.pools.values()]
    assert ["mean"] == [pool.projection for pool in spec.pools.values()]
    assert spec.finetune is not None
    assert spec.finetune.distill is None
    assert 0.0 == spec.finetune.gradual


def test_parts_are_one_ingredient_away() -> None:
    """Alone: the recipe's settings but for one's; left out: wpack's but for one's."""
    by_name = {arm.name: arm.settings for arm in arms.part_arms(2.57, 20)}
    recipe, ours = (arm.settings for arm in main_arms(2.57, 20))

    assert {"pools.blocks.repair"} == _differing(
        recipe, by_name["with repair alone, 2.57"]
    )
    assert {"finetune.distill"} == _differing(recipe, by_name["with hints alone, 2.57"])
    assert {"finetune.distill"} == _differing(ours, by_name["without logits, 2.57"])
    assert {"finetune.gradual"} == _differing(ours, by_name["without gradual, 2.57"])
    assert 0.0 == by_name["without logits, 2.57"]["finetune.distill"]["weight"]
    assert {"pools.blocks.projection"} == _differing(
        ours, by_name["with saliency too, 2.57"]
    )
    assert "with layout too, 2.57" in by_name


def _differing(a: dict[str, Any], b: dict[str, Any]) -> set[str]:
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


def document(**accuracy: float) -> dict[str, Any]:
    """Results of one ratio, seeds 0 and 1, the second a point better; arm → accuracy,
    in per cent, of the first."""
    runs = [
        {
            "arm": arm,
            "seed": s,
            "rate": 0.1,
            "metrics": {"accuracy": value / 100 + s / 100},
        }
        for arm, value in accuracy.items()
        for s in (0, 1)
    ]
    runs.append(
        {"arm": UNTIED.name, "seed": 0, "rate": 0.2, "metrics": {"accuracy": 1}}
    )
    runs.append({"arm": UNTIED.name, "seed": 1, "rate": 0.1, "failed": "loss is nan"})
    return {
        "depth": 20,
        "epochs": 3,
        "ratios": [2],
        "seeds": [0, 1],
        "parts_ratio": 2,
        "chosen_rates": dict.fromkeys([UNTIED.name, f"{RECIPE}, 2", f"{OURS}, 2"], 0.1),
        "runs": runs,
    }


def test_the_table() -> None:
    """Means and deviations of the chosen rate's runs; the share of the gap that is
    closed; and each ingredient's worth, from differences on the same seeds."""
    arms_of = {
        UNTIED.name: 90,
        f"{RECIPE}, 2": 80,
        f"{OURS}, 2": 86,
        "with gradual alone, 2": 83,
        "without gradual, 2": 84.5,
        "with layout too, 2": 85,
    }
    results = document(**arms_of)
    (better,) = (
        run
        for run in results["runs"]
        if run["arm"] == "with gradual alone, 2" and run["seed"] == 1
    )
    better["metrics"]["accuracy"] = 0.86
    found = compare_plot.table(results).splitlines()

    assert "untied                          0.1      90.50 ± 0.71     2" == found[1]
    assert "wpack's, 2                      0.1      86.50 ± 0.71     2" == found[3]
    assert "  ratio 2: 60%  (60%, 60%)" == found[6]
    assert "  gradual                      +4.00 ± 1.41         +1.50 ± 0.00" in found
    assert "  layout                             failed         -1.00 ± 0.00" in found
    assert "  repair                             failed               failed" in found


def test_no_gap() -> None:
    """Nothing of no gap is closed."""
    same = document(**{UNTIED.name: 80, f"{RECIPE}, 2": 80, f"{OURS}, 2": 81})

    assert {} == compare_plot.closed(same, 2)
    assert "  ratio 2: nan%  ()" in compare_plot.table(same)


def test_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every arm runs, at a rate that it chose, and there are a table and a figure."""
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(compare, "part_arms", lambda ratio, depth: [])
    torch.manual_seed(0)
    save_file(ResNet(20).state_dict(), tmp_path / "start.safetensors")
    results = tmp_path / "found.json"
    compare.main(
        [
            *(str(tmp_path / "start.safetensors"), "--json", str(results)),
            *("--epochs", "1", "--ratios", "2", "--rates", "0.01", "--seeds", "3"),
            *("--task", "tests.test_benchmark_cifar10:noise", "--parts", "2"),
        ]
    )
    document = json.loads(results.read_text())

    ran = {(run["arm"], run["seed"], run["rate"]) for run in document["runs"]}
    names = (UNTIED.name, f"{RECIPE}, 2.0", f"{OURS}, 2.0")
    assert {(name, 3, 0.01) for name in names} == ran
    assert set(INGREDIENTS) < set(document["ingredients"])
    assert results.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "gap between the paper's recipe" in capsys.readouterr().out
