"""What comparisons of pools with the untied network have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import sharing
from benchmarks.shakespeare.compare import SUBJECT
from benchmarks.sharing import FROM_LABELS, KINDS, RATIOS, UNTIED
from benchmarks.trials import overrides
from wpack.spec import load


@pytest.mark.parametrize("kind", KINDS)
def test_arms_differ_in_ratios(kind: str) -> None:
    """Every pool of an arm has its ratio, and nothing else differs; the untied arm,
    which learns from labels, is among the first kind's."""
    arms = {arm.name: dict(arm.settings) for arm in SUBJECT.arms(kind)}
    expected = {f"{kind} {ratio:g}": {ratio} for ratio in RATIOS}
    if kind == next(iter(KINDS)):
        expected = {UNTIED: {1.0}, **expected}
        labels = {key: arms[UNTIED].pop(key) for key in FROM_LABELS}
        assert FROM_LABELS == labels

    assert expected == {name: set(each.values()) for name, each in arms.items()}
    for name, settings in arms.items():
        recipe = load(SUBJECT.spec(kind), overrides(settings)).finetune
        assert recipe is not None
        assert (0.25, True) == (recipe.gradual, recipe.distill is not None), name


def test_points() -> None:
    """An arm's point is of its chosen rate, and is compared seed by seed."""

    def run(arm: str, seed: int, rate: float, loss: float) -> dict[str, Any]:
        metrics = {"loss": loss, "accuracy": 0.5}
        sizes = {"free_parameters": 7, "nbytes": 9}
        return {"arm": arm, "seed": seed, "rate": rate, "metrics": metrics, **sizes}

    losses = {UNTIED: (1.0, 2.0), "one pool 2": (1.5, 2.3), "split pools 2": (1, 2)}
    runs = [run(n, seed, 0.1, losses[n][seed]) for n in losses for seed in (0, 1)]
    runs.append(run("one pool 2", 0, 0.2, 9.0))
    document = {
        "ratios": [2.0],
        "chosen_rates": dict.fromkeys(sorted(losses), 0.1),
        "runs": runs,
        "checkpoint": {"loss": 3.0},
        "projected": [
            {"arm": "one pool 2", "metrics": {"loss": 4.0}},
            {"arm": "split pools 2", "metrics": {"loss": 5.0}},
        ],
    }
    found = sharing.points(SUBJECT, document)
    one = found[1]

    assert list(losses) == [point["arm"] for point in found]
    assert [3.0, 4.0, 5.0] == [point["projected"] for point in found]
    assert (2, 1.9) == (one["runs"], pytest.approx(one["loss"]))
    assert pytest.approx([0.5, 0.3]) == one["gaps"]
    assert pytest.approx(0.4) == one["gap"]
    assert pytest.approx(0.8 / 2**0.5) == one["deviation"]
    assert "| one pool 2 | 7 | 9 | 4.0000 | 1.9000 |" in sharing.table(
        SUBJECT, {"points": found}
    )


def test_shares_are_told_in_percent() -> None:
    """Accuracy is shown as such, and what lies between two in points."""
    subject = replace(SUBJECT, metric="accuracy")
    point = {
        "arm": UNTIED,
        "free_parameters": 1000,
        "nbytes": 4000,
        "projected": 0.5,
        "accuracy": 0.875,
        "deviation": 0.0012,
        "gap": -0.0025,
        "loss": 0.25,
    }
    *_, row = sharing.table(subject, {"points": [point]}).splitlines()

    assert (
        "| untied | 1,000 | 4,000 | 50.00% | 87.50% | 0.12% | -0.25 points | 0.2500 |"
    ) == row


def test_labels_alone() -> None:
    """Asked for, all arms learn as the untied one does, for as long as is asked."""
    words = ["--checkpoint", "x", "--json", "y.json", "--labels", "--steps", "400"]
    settings = sharing._settings(sharing.arguments(SUBJECT, words))
    recipe = load(SUBJECT.spec("one pool"), overrides(settings)).finetune

    assert recipe is not None
    assert (400, None, 0.0) == (recipe.steps, recipe.distill, recipe.gradual)
    assert {} == sharing._settings(sharing.arguments(SUBJECT, words[:4]))
