"""``binary``: by hand, and its errors."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from tests.codecs.coding import block_most, decoded, weights
from wpack.codecs.binary import Binary


def test_by_hand() -> None:
    """The mean magnitude, of as many as there are, and a bit for each sign."""
    values = np.array([1, -3, 2, 2, -4, 0, 3, 1, 0.5, -1], "<f4")
    unit, scales, codes = Binary(block=8).encode(values)

    assert [8.0] == unit.symbols.view("<f4").tolist()
    assert [2 / 8, 0.75 / 8] == scales.symbols.view("<f2").tolist()
    assert [1, 0, 1, 1, 0, 1, 1, 1, 1, 0] == codes.symbols.tolist()
    assert [2, -2, 2, 2, -2, 2, 2, 2, 0.75, -0.75] == decoded(
        Binary(block=8), values
    ).tolist()


@given(weights())
def test_error(values: np.ndarray) -> None:
    """No larger than the largest of its block, or next to nothing."""
    errors = np.abs(decoded(Binary(8), values) - values.astype("<f8"))
    most = np.abs(values).max(initial=0)
    bound = np.maximum(block_most(values, 8) * (1 + 2.0**-10), most * 2.0**-23)

    assert (errors <= bound + 2.0**-90).all()


@given(weights("<f8"))
def test_no_other_magnitude_is_nearer(values: np.ndarray) -> None:
    """The mean magnitude has the least squared error of any, but for its rounding."""
    codec = Binary(512)
    errors = ((decoded(codec, values) - values) ** 2).sum()
    for magnitude in (
        np.abs(values).mean() * np.array([0.9, 1.1]) if len(values) else []
    ):
        tried = np.where(values < 0, -magnitude, magnitude)
        assert errors <= ((tried - values) ** 2).sum() * (1 + 1e-6) + 2.0**-90
