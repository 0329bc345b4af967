"""Which evaluation was best."""

from __future__ import annotations

import math

import pytest

from wpack.errors import UsageError
from wpack.scores import Scores


def fill(scores: Scores, values: list[float]) -> list[bool]:
    """Validation results, one a step; whether each was the best."""
    return [scores.add(i, "validation", {"m": value}) for i, value in enumerate(values)]


@pytest.mark.parametrize(
    ("lower", "values", "expected", "best"),
    [
        (False, [0.5, 0.4, 0.5, 0.6], [True, False, False, True], 3),
        (True, [0.5, 0.6, 0.4, 0.4], [True, False, True, False], 2),
        (False, [math.nan, 0.1, math.nan], [True, True, False], 1),
        (True, [math.nan, math.nan, -math.inf], [True, False, True], 2),
    ],
)
def test_best(
    lower: bool, values: list[float], expected: list[bool], best: int
) -> None:
    """The first of the best counts, and any number is better than none."""
    scores = Scores("m", lower)

    assert expected == fill(scores, values)
    assert best == scores.best_step
    assert {"m": values[best]} == scores.best


def test_test_split_chooses_nothing() -> None:
    """Results on the test split are noted, and never chosen by."""
    scores = Scores("m", False)

    assert not scores.add(0, "test", {"m": 0.9})
    assert not scores.add(4, "test", {"m": 1.0})
    assert {} == scores.best
    assert {"test": {"m": 0.9}} == scores.before
    assert {"test": {"m": 1.0}} == scores.latest


def test_what_comes_of_it() -> None:
    """The best validation, or without one the last step."""
    none, scores = Scores("m", False), Scores("m", False)
    none.add(0, "test", {"m": 0.9})
    fill(scores, [0.5, 0.7, 0.6])

    assert 9 == none.settle(9)
    assert {"test": {"m": 0.9}} == none.latest
    assert 1 == scores.settle(9)
    assert {"validation": {"m": 0.7}} == scores.latest


def test_unknown_metric() -> None:
    """A metric that the task does not have is named, with those it has."""
    with pytest.raises(UsageError) as caught:
        Scores("f1", False).add(0, "validation", {"accuracy": 1.0, "loss": 0.0})

    assert (
        "finetune.metric: the task has no metric 'f1'. It has: accuracy, loss"
    ) == str(caught.value)
