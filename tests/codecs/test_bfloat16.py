"""``bfloat16``: rounding and range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.codecs.coding import decoded, weights
from wpack.codecs.bfloat16 import Bfloat16


@given(weights())
def test_error(values: np.ndarray) -> None:
    """Half of the last place."""
    errors = np.abs(decoded(Bfloat16(), values) - values.astype("<f8"))

    assert (errors <= np.maximum(np.abs(values) * 2.0**-8, 2.0**-134)).all()


def test_ties_are_even() -> None:
    """Halfway between 1 and 1 + 2^-7, and between that and 1 + 2^-6."""
    step = 2.0**-7
    values = np.array([1 + step / 2, 1 + step * 3 / 2], "<f4")

    assert [1, 1 + 2 * step] == decoded(Bfloat16(), values).tolist()


@pytest.mark.parametrize("value", [3.4e38, -1e39])
def test_beyond_its_range(value: float) -> None:
    """Refused, rather than stored as infinite."""
    with pytest.raises(ValueError, match=r"^bfloat16 has no room for a magnitude of "):
        Bfloat16().encode(np.array([1, value]))


@pytest.mark.parametrize(
    ("bits", "shown"), [(0x7F80, "inf"), (0xFF80, "-inf"), (0xFFFF, "nan")]
)
def test_codes_of_no_number(bits: int, shown: str) -> None:
    """S15: neither NaN nor infinity comes of a file."""
    codes = np.array([0x7F7F, 0xFF7F, bits], "<u2")

    with pytest.raises(ValueError, match=f"^stored value 2 is {shown} in bfloat16$"):
        Bfloat16().decoder((), 3)(codes, 0, np.empty(3, "<f4"))
