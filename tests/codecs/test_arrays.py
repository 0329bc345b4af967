"""The array code that codecs share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wpack.codecs._arrays import (
    by_stretches,
    highest,
    in_rows,
    largest,
    power_above,
    row_most,
    row_sums,
    stretches,
)

libraries = pytest.mark.parametrize("made", [np.array, torch.tensor])


@libraries
def test_rows_are_filled_with_zeros(made) -> None:
    """The last one, where it is short."""
    assert [[1, 2], [3, 0]] == in_rows(made([1.0, 2.0, 3.0]), 2).tolist()
    assert [[1, 2], [3, 4]] == in_rows(made([1.0, 2.0, 3.0, 4.0]), 2).tolist()


@given(seed=st.integers(0, 99), log_width=st.integers(0, 9))
def test_sums_have_one_order(seed: int, log_width: int) -> None:
    """Sums of float32 are the same bits from both libraries, and sums."""
    rows = np.random.default_rng(seed).standard_normal((3, 1 << log_width))
    narrow = rows.astype("<f4")
    ours, theirs = row_sums(narrow), row_sums(torch.from_numpy(narrow))

    assert ours.tobytes() == theirs.numpy().tobytes()
    np.testing.assert_allclose(ours, rows.sum(axis=1), atol=1e-4)


@libraries
def test_largest_magnitudes(made) -> None:
    """Whatever the sign; of no values it is 0."""
    rows = made([[1.0, -3.0], [2.0, 0.0]])

    assert [3, 2] == row_most(rows).tolist()
    assert 3.0 == largest(rows.reshape(-1), "int")
    assert 0.0 == largest(rows.reshape(-1)[:0], "int")


@libraries
def test_what_is_too_large(made) -> None:
    """More than 2^127 is refused, by the codec's name."""
    assert 2.0**127 == largest(made([-(2.0**127)]), "int")
    message = (
        r"^int stores no magnitude above 2\^127 ≈ 1\.7e\+38, and one is (1e\+39|inf)$"
    )
    with pytest.raises(ValueError, match=message):
        largest(made([1e39]), "int")


@pytest.mark.parametrize(
    ("magnitude", "power"),
    [(0.0, -100), (1e-300, -100), (0.5, 0), (0.75, 0), (1.0, 1), (2.0**127, 127)],
)
def test_powers_above(magnitude: float, power: int) -> None:
    """The next power of two, within what float32 has room for."""
    assert 2.0**power == power_above(magnitude)


@given(numel=st.integers(0, 400_000), log_whole=st.integers(0, 20))
def test_stretches_are_all_there_is(numel: int, log_whole: int) -> None:
    """One after another; all but the last of whole blocks."""
    found = list(stretches(np.empty(numel, "u1"), 1 << log_whole))

    assert [0, *(s.stop for s in found)] == [*(s.start for s in found), numel]
    assert {0} >= {len(range(s.start, s.stop)) % (1 << log_whole) for s in found[:-1]}


@libraries
def test_by_stretches(made) -> None:
    """One stretch at a time gives what one call would."""
    values = made(np.arange(200_000.0))
    found = by_stretches(lambda part: part * 2, values, "float32")

    assert "float32" in str(found.dtype)
    assert (2 * np.arange(200_000.0)).tolist() == found.tolist()


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@settings(max_examples=25)
@given(
    keys=st.lists(st.sampled_from([0.0, 1e-45, 0.5, 1.0, 1e30]) | st.floats(0, 9)),
    data=st.data(),
)
def test_the_highest(dtype: str, keys: list[float], data: st.DataObject) -> None:
    """A stable sort finds the same: of equal ones, the first."""
    values = np.abs(np.array(keys, dtype))
    count = data.draw(st.integers(0, len(keys)))
    order = np.argsort(-values, kind="stable")[:count]
    found = highest(values, count)

    assert sorted(order.tolist()) == np.flatnonzero(found).tolist()
    assert found.tolist() == highest(torch.from_numpy(values), count).tolist()


def test_the_highest_of_many() -> None:
    """Ties are told apart over all stretches."""
    keys = np.tile(np.arange(7, dtype="<f4"), 60_000)
    expected = np.sort(np.argsort(-keys, kind="stable")[:100_000])

    assert np.array_equal(expected, np.flatnonzero(highest(keys, 100_000)))
