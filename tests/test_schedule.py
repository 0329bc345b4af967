"""Learning rates."""

from __future__ import annotations

import pytest

from wpack.schedule import learning_rate, warmup_steps

HALF_COSINE = [1.0, 0.8535533905932737, 0.5, 0.1464466094067262]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", HALF_COSINE),
    ],
)
def test_shapes(shape: str, expected: list[float]) -> None:
    """Each shape starts at the peak and would reach its end one step after the last."""
    rates = [learning_rate(step, 4, 2.0, shape) for step in range(4)]

    assert [2.0 * share for share in expected] == pytest.approx(rates, abs=1e-15)


def test_warmup_climbs_to_the_peak() -> None:
    """Three steps of warm-up are quarters of the peak; the fourth has it all."""
    rates = [learning_rate(step, 7, 4.0, "cosine", 3) for step in range(7)]

    assert [1.0, 2.0, 3.0, *(4.0 * s for s in HALF_COSINE)] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [(0, 0), (0.0, 0), (1, 1), (5, 5), (0.05, 10), (1.0, 200), (0.0024, 0)],
)
def test_warmup_steps(warmup: int | float, expected: int) -> None:
    """A whole number counts steps, a float is a share of them."""
    assert expected == warmup_steps(warmup, 200)


def test_warmup_for_all_steps() -> None:
    """A warm-up as long as the run never reaches its peak."""
    assert [0.25, 0.5, 0.75] == [
        learning_rate(s, 3, 1.0, "linear", 3) for s in (0, 1, 2)
    ]
