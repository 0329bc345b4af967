"""Fits of products and sums, against what can be known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack.least_squares import (
    MODERATE,
    RIDGE,
    fit_products,
    fit_sums,
    root_mean_square,
)


def ring(length: int) -> list[np.ndarray]:
    """Neighbours round a circle."""
    i = np.arange(length)
    return [i, (i + 1) % length]


def test_root_mean_square() -> None:
    """Of 3 and 4; of nothing."""
    assert root_mean_square(np.array([3.0, 4.0])) == 12.5**0.5
    assert root_mean_square(np.zeros(0)) == 0.0


@given(st.integers(3, 30), st.integers(0, 99))
def test_sums_are_a_linear_solution(length: int, seed: int) -> None:
    """No worse than a dense solver's least squares."""
    values = np.random.default_rng(seed).standard_normal(length)
    indices = ring(length)
    matrix = np.zeros((length, length))
    for index in indices:
        matrix[np.arange(length), index] += 1
    best = np.linalg.lstsq(matrix, values, rcond=None)[0]
    found = fit_sums(values, indices, length)

    np.testing.assert_allclose(matrix @ found, matrix @ best, atol=1e-5)


@given(st.integers(3, 60), st.integers(0, 99), st.floats(1e-12, 1e12))
def test_products_are_found_from_near_by(length: int, seed: int, scale: float) -> None:
    """From a start next to them the factors' products come back, at any scale."""
    random = np.random.default_rng(seed)
    factors = random.uniform(0.7, 1.4, length)
    first, second = ring(length)
    working = scale * factors[first] * factors[second]
    start = factors / root_mean_square(working / scale) ** 0.5
    near = start * random.uniform(0.999, 1.001, length)
    found = fit_products(working, [first, second], [near])

    np.testing.assert_allclose(found[first] * found[second], working, rtol=1e-6)


def test_one_factor_is_the_mean() -> None:
    """Without products the ridge is all that bends the mean."""
    working = np.array([1.0, 3.0, 5.0, 7.0])
    found = fit_products(working, [np.array([0, 0, 1, 1])], [np.zeros(2)])

    np.testing.assert_allclose(found, np.array([4, 12]) / (2 + RIDGE))


def test_signs_that_no_ring_has() -> None:
    """The product round an even ring of products is positive; where the weights' is
    negative the best lies at infinity, and the ridge keeps the fit near."""
    working = np.array([1.0, 1.0, 1.0, -1.0])
    found = fit_products(working, ring(4), [np.array([1.0, 0.9, 1.1, 1.0])])

    assert np.abs(found).max() < MODERATE
    assert np.isfinite(found).all()


def test_the_best_start_wins() -> None:
    """A start at the saddle 0 gives 0; a second one does better."""
    working = np.array([1.0, 2.0, 2.0])
    found = fit_products(working, ring(3), [np.zeros(3), np.array([1.0, 1.0, 2.0])])

    np.testing.assert_allclose(found, [1, 1, 2], rtol=1e-9)


def test_no_start_is_refused() -> None:
    """There is nothing to begin with."""
    with pytest.raises(ValueError, match=r"^fit_products needs at least one start$"):
        fit_products(np.ones(3), ring(3), [])
