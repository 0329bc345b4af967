"""``float8_e4m3``: its 256 values, rounding, and the unit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codecs.coding import decoded, weights
from wpack.codecs.float8_e4m3 import _VALUES, Float8E4m3, _codes


def test_values() -> None:
    """What torch makes of each code."""
    codes = torch.arange(256, dtype=torch.uint8)
    theirs = codes.view(torch.float8_e4m3fn).float().numpy()

    assert theirs.tobytes() == np.where(np.isnan(_VALUES), theirs, _VALUES).tobytes()
    assert [127, 255] == np.flatnonzero(np.isnan(_VALUES)).tolist()


@given(st.lists(st.floats(-448, 448, width=32), min_size=1))
def test_codes(values: list[float]) -> None:
    """Those that torch rounds to; and of the values between two, the even one."""
    between = (np.sort(_VALUES[:127])[1:] + np.sort(_VALUES[:127])[:-1]) / 2
    sought = np.concatenate([np.array(values, "<f4"), between, -between])
    theirs = torch.from_numpy(sought).to(torch.float8_e4m3fn).view(torch.uint8)

    assert theirs.tolist() == _codes(sought).tolist()


@given(weights())
def test_error(values: np.ndarray) -> None:
    """A sixteenth, or next to nothing."""
    errors = np.abs(decoded(Float8E4m3(), values) - values.astype("<f8"))
    most = np.abs(values).max(initial=0)
    bound = np.maximum(np.abs(values) * 2.0**-4, most * 2.0**-17)

    assert (errors <= bound + 2.0**-90).all()


@pytest.mark.parametrize(
    ("largest", "unit"), [(448, 1), (449, 2), (224.5, 1), (224, 0.5), (0.1, 2.0**-12)]
)
def test_the_largest_fits(largest: float, unit: float) -> None:
    """It is brought into (224, 448]."""
    values = np.array([1e-3, -largest], "<f4")
    found, _ = Float8E4m3().encode(values)

    assert [unit] == found.symbols.view("<f4").tolist()


@pytest.mark.parametrize("unit", [0.0, 3.0, -1.0, np.nan, np.inf, 2.0**120, 2.0**127])
def test_units_that_are_none(unit: float) -> None:
    """S15: a power of two with which no value is infinite."""
    with pytest.raises(ValueError, match=r"^the unit is "):
        Float8E4m3().decoder([np.array([unit], "<f4").view("<u4")], 5)


def test_the_largest_unit() -> None:
    """With it, all values are numbers of float32."""
    unit = np.array([2.0**119], "<f4").view("<u4")
    made = np.empty(2, "<f4")
    Float8E4m3().decoder([unit], 2)(np.array([0x7E, 0xFE], "u1"), 0, made)

    assert [448 * 2.0**119, -448 * 2.0**119] == made.tolist()


@pytest.mark.parametrize("code", [0x7F, 0xFF])
@pytest.mark.parametrize("numel", [5, 1 << 16])
def test_codes_of_nan(code: int, numel: int) -> None:
    """S15: the message says which of all that are stored it is."""
    codes = np.full(numel, 0x7E, "u1")
    codes[3] = code
    decode = Float8E4m3().decoder([np.array([1], "<f4").view("<u4")], 1 << 17)

    with pytest.raises(ValueError, match=r"^stored value 65539 is nan in float8_e4m3$"):
        decode(codes, 1 << 16, np.empty(numel, "<f4"))
