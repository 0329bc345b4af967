"""What comparisons of pools with the untied network have in common."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import sharing
from benchmarks.shakespeare.compare import SUBJECT
from benchmarks.sharing import KINDS, RATIOS, UNTIED


@pytest.mark.parametrize("kind", KINDS)
def test_arms_differ_in_ratios_alone(kind: str) -> None:
    """Every pool of an arm has its ratio; the untied arm is among the first kind's."""
    found = {arm.name: set(arm.settings.values()) for arm in SUBJECT.arms(kind)}
    expected = {f"{kind} {ratio:g}": {ratio} for ratio in RATIOS}
    if kind == next(iter(KINDS)):
        expected = {UNTIED: {1.0}, **expected}

    assert expected == found


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
