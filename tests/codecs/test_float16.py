"""``float16``: rounding and range."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given

from tests.codecs.coding import decoded, weights
from wpack.codecs.float16 import Float16


@given(weights())
def test_error(values: np.ndarray) -> None:
    """Half of the last place."""
    errors = np.abs(decoded(Float16(), values) - values.astype("<f8"))

    assert (errors <= np.maximum(np.abs(values) * 2.0**-11, 2.0**-25)).all()


def test_ties_are_even() -> None:
    """Halfway between 1 and 1 + 2^-10, and between that and 1 + 2^-9."""
    step = 2.0**-10
    values = np.array([1 + step / 2, 1 + step * 3 / 2, -0.0], "<f4")
    made = decoded(Float16(), values)

    assert [1, 1 + 2 * step, 0] == made.tolist()
    assert np.signbit(made[2])


@pytest.mark.parametrize("value", [65520, -1e6, 3e38])
def test_beyond_its_range(value: float) -> None:
    """Refused, rather than stored as infinite."""
    values = np.array([1, value], "<f4")
    message = (
        f"^float16 has no room for a magnitude of {re.escape(f'{abs(value):.5g}')}$"
    )
    with pytest.raises(ValueError, match=message):
        Float16().encode(values)
    with pytest.raises(ValueError, match=message):
        Float16().fake(torch.from_numpy(values))


def test_the_largest() -> None:
    """What rounds to 65504 is stored."""
    assert [65504] == decoded(Float16(), np.array([65519], "<f4")).tolist()


@pytest.mark.parametrize(
    ("bits", "shown"), [(0x7C00, "inf"), (0xFC00, "-inf"), (0x7C01, "nan")]
)
def test_codes_of_no_number(bits: int, shown: str) -> None:
    """S15: the message says which of all that are stored it is."""
    codes = np.array([0, 0x7BFF, bits, bits], "<u2")
    decode = Float16().decoder((), 1 << 17)
    decode(codes[:2], 0, np.empty(2, "<f4"))

    with pytest.raises(ValueError, match=f"^stored value 65538 is {shown} in float16$"):
        decode(codes, 1 << 16, np.empty(4, "<f4"))
