"""``ternary``: by hand, and its errors."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from tests.codecs.coding import block_most, decoded, weights
from wpack.codecs.ternary import Ternary


def test_by_hand() -> None:
    """Of a mean of 2, 0.7 is 1.4: 1.3 becomes 0, and the others 2.45 on average."""
    values = np.array([1.5, -3, 2.2, 4, -1.3, 0, 2.5, -1.5, 8, 0], "<f4")
    unit, scales, codes = Ternary(block=8).encode(values)

    assert [16.0] == unit.symbols.view("<f4").tolist()
    assert [np.float16(2.45 / 16), 0.5] == scales.symbols.view("<f2").tolist()
    assert [2, 0, 2, 2, 1, 1, 2, 0, 2, 1] == codes.symbols.tolist()


@given(weights())
def test_error(values: np.ndarray) -> None:
    """No larger than the largest of its block, or next to nothing."""
    errors = np.abs(decoded(Ternary(8), values) - values.astype("<f8"))
    most = np.abs(values).max(initial=0)
    bound = np.maximum(block_most(values, 8) * (1 + 2.0**-10), most * 2.0**-23)

    assert (errors <= bound + 2.0**-90).all()


@given(weights())
def test_zeros_stay(values: np.ndarray) -> None:
    """What is 0 is 0."""
    assert not decoded(Ternary(), values)[values == 0].any()
