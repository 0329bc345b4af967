"""``int``: by hand, and its errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.codecs.coding import block_most, decoded, weights
from wpack.codecs.int import Int


def test_by_hand() -> None:
    """The largest of a block is 7 steps of four bits, and 2 is the power above a
    step of 1; codes count from -7."""
    values = np.array([7, -7, 3, 1, 0, -1, -3, 2, 14, 0, 4, -2], "<f4")
    unit, scales, codes = Int(bits=4, block=8).encode(values)

    assert [4.0] == unit.symbols.view("<f4").tolist()
    assert [0.25, 0.5] == scales.symbols.view("<f2").tolist()
    assert [14, 0, 10, 8, 7, 6, 4, 9, 14, 7, 9, 6] == codes.symbols.tolist()
    assert values.tolist() == decoded(Int(bits=4, block=8), values).tolist()


def test_few_bits_clip() -> None:
    """Of weights of 3 and seven of 1, the mean is nearer than 3 and zeros."""
    values = np.array([3, 1, -1, 1, -1, 1, -1, 1] * 8, "<f4")
    (made,) = np.unique(np.abs(decoded(Int(bits=2, block=64), values)[1:8]))

    assert 1.25 == made


@pytest.mark.parametrize("bits", range(2, 9))
@given(st.data())
def test_error(bits: int, data: st.DataObject) -> None:
    """The root of the mean squared error of a block is at most half of the step that
    clips nothing, or next to nothing."""
    values = data.draw(weights())
    errors = (decoded(Int(bits, 8), values) - values.astype("<f8")) ** 2
    steps = block_most(values, 8) / (2 ** (bits - 1) - 1)
    starts = np.arange(0, len(values), 8)
    found = np.add.reduceat(errors, starts) if len(values) else errors
    # A block that is not full has zeros, without an error, after its last weight.
    bound = steps[::8] / 2 + np.abs(values).max(initial=0) * 2.0**-22

    assert (np.sqrt(found / 8) <= bound * (1 + 1e-5) + 2.0**-90).all()


@pytest.mark.parametrize("bits", range(2, 9))
def test_the_scale_is_nearly_the_best(bits: int) -> None:
    """Within 6 % of the least squared error that any of many scales has."""
    rows = np.random.default_rng(0).standard_normal((400, 64))
    most = 2 ** (bits - 1) - 1
    made = decoded(Int(bits, 64), rows.reshape(-1)).reshape(rows.shape)
    found = ((made - rows) ** 2).sum(axis=1)
    least = np.full(len(rows), np.inf)
    for share in np.linspace(0.2, 1.0, 400):
        steps = np.abs(rows).max(axis=1, keepdims=True) / most * share
        codes = np.rint(rows / steps).clip(-most, most)
        least = np.minimum(least, ((rows - codes * steps) ** 2).sum(axis=1))

    assert found.sum() <= 1.06 * least.sum()


@pytest.mark.parametrize("bits", [-1, 0, 1, 9])
def test_bits(bits: int) -> None:
    """From 2 to 8."""
    message = f"bits must be from 2 to 8, got {bits}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Int(bits)
