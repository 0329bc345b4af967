"""``kmeans``: by hand, against all codebooks there are, and its gradient."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codecs.coding import decoded, weights
from wpack.codecs._codebook import best_codebook, borders
from wpack.codecs.kmeans import Kmeans, _finder


def test_by_hand() -> None:
    """Two clusters, their means, and a code for each weight."""
    book, codes = Kmeans(bits=1).encode(np.array([9, 1, 11, 2, 0, 10], "<f4"))

    assert [1, 10] == book.symbols.view("<f4").tolist()
    assert [1, 0, 1, 0, 0, 1] == codes.symbols.tolist()


def test_few_values_are_the_codebook() -> None:
    """And the last of them fills it."""
    values = np.array([3e30, -1e-30, 0, -1e-30, 3e30], "<f4")
    book, codes = Kmeans(bits=2).encode(values)

    assert values[[1, 2, 0, 0]].tolist() == book.symbols.view("<f4").tolist()
    assert [2, 0, 1, 0, 2] == codes.symbols.tolist()


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_no_values(bits: int) -> None:
    """Have a codebook all the same."""
    book, codes = Kmeans(bits).encode(np.empty(0, "<f4"))

    assert (1 << bits, 0) == (len(book.symbols), len(codes.symbols))


def squared_error(values: np.ndarray, book: np.ndarray) -> float:
    """With the nearest of a codebook for each value."""
    return float((np.abs(values - book[:, None]).min(axis=0) ** 2).sum())


@settings(max_examples=30)
@given(st.lists(st.integers(-50, 50), min_size=5, max_size=9), st.integers(1, 2))
def test_no_codebook_is_better(numbers: list[int], bits: int) -> None:
    """Of all ways to cut a few sorted values."""
    values = np.sort(np.array(numbers, "<f8"))
    size = min(1 << bits, len(set(numbers)))
    least = min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(values, cuts))
        for cuts in combinations(range(1, len(values)), size - 1)
    )
    made = decoded(Kmeans(bits), values)

    assert ((made - values) ** 2).sum() <= least + 1e-6
    assert np.array_equal(np.sort(made), made)


def test_outliers_do_not_take_the_codebook() -> None:
    """A few large weights leave values for the many."""
    values = np.random.default_rng(0).standard_t(3, 20_000).astype("<f4")
    found = best_codebook(np.sort(values), 64)
    even = np.linspace(values.min(), values.max(), 64)

    assert squared_error(values, found) < 0.05 * squared_error(values, even)


def test_values_are_means() -> None:
    """Where there are more weights than groups, too."""
    values = np.random.default_rng(0).laplace(size=3000).astype("<f4")
    book, codes = Kmeans(2).encode(values)
    means = [values[codes.symbols == code].mean() for code in range(4)]

    np.testing.assert_allclose(book.symbols.view("<f4"), means, rtol=1e-5)


@given(weights())
def test_error(values: np.ndarray) -> None:
    """Each weight has the nearest value of the codebook, within the weights' range."""
    book, _ = Kmeans(3).encode(values)
    centres = book.symbols.view("<f4").astype("<f8")
    errors = np.abs(decoded(Kmeans(3), values) - values.astype("<f8"))

    assert errors.tolist() == (
        np.abs(values - centres[:, None]).min(axis=0).tolist() if len(values) else []
    )
    assert errors.max(initial=0) <= np.ptp(values.astype("<f8")) if len(values) else 1


def test_the_largest_codebook() -> None:
    """Eight bits."""
    values = np.random.default_rng(0).standard_normal(5000).astype("<f4")
    errors = decoded(Kmeans(8), values) - values

    assert np.sqrt((errors**2).mean()) < 0.01
    assert 256 == len(np.unique(decoded(Kmeans(8), values)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_values_that_are_none(value: float) -> None:
    """S15: a codebook's values are finite; the message says which is not."""
    book = np.array([0, value], "<f4")
    message = re.escape(f"value 1 of the codebook is {float(book[1])!r}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Kmeans(1).decoder([book.view("<u4")], 5)


@pytest.mark.parametrize("bits", [0, 9])
def test_bits(bits: int) -> None:
    """From 1 to 8."""
    message = f"bits must be from 1 to 8, got {bits}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Kmeans(bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_are_summed(dtype: torch.dtype) -> None:
    """For each weight, over all that have its value."""
    latents = torch.tensor([2.0, -1, 2, 0, -1, 2], dtype=dtype)
    gradient = torch.tensor([1.0, 2, 3, 4, 5, 6], dtype=dtype)
    found = Kmeans(2).shared_gradient(latents, gradient)

    assert [10, 7, 10, 4, 7, 10] == found.tolist()
    assert dtype == found.dtype


def test_gradients_of_what_is_not_shared_yet() -> None:
    """Are each weight's own."""
    gradient = torch.arange(9.0)

    assert torch.equal(gradient, Kmeans(1).shared_gradient(gradient * 2, gradient))


def test_latents_that_are_no_numbers() -> None:
    """Training may bring them; nothing hangs."""
    latents = torch.tensor([1.0, torch.nan, 1.0])

    assert 3 == len(Kmeans(1).shared_gradient(latents, latents))


@pytest.mark.parametrize("exactly", [True, False])
@given(st.lists(st.floats(-3, 3, width=16), min_size=1, max_size=40), weights())
def test_places_in_a_book(exactly: bool, book: list[float], values: np.ndarray) -> None:
    """What searchsorted finds; of both libraries."""
    ascending = np.unique(np.array(book, "<f4") + np.float32(0))
    sought = np.concatenate([ascending, np.nextafter(ascending, np.float32(9)), values])
    sought = sought if exactly else ascending
    expected = np.searchsorted(ascending, sought).tolist()
    tensors = torch.from_numpy(ascending), torch.from_numpy(sought)

    assert expected == _finder(ascending, exactly)(sought).tolist()
    assert expected == _finder(tensors[0], exactly)(tensors[1]).tolist()


def test_borders_are_exact() -> None:
    """Between neighbours, halfway is no float32: the lower belongs below."""
    one = np.float32(1)
    above = np.nextafter(one, np.float32(2))

    assert [1.0] == borders(np.array([one, above])).tolist()
    assert [2.0, 5.0] == borders(np.array([1, 3, 7], "<f4")).tolist()
