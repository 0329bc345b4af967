"""Symbols packed to the bit."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wpack.codecs._packing import (
    aligned,
    check_below,
    pack,
    packed_nbytes,
    symbol_dtype,
    unpack,
)

LEVELS = st.one_of(
    st.integers(2, 256), st.sampled_from([2, 3, 4, 15, 16, 255, 256, 1 << 16, 1 << 32])
)
#: What eight symbols come to, by hand.
BYTES = {
    2: ([1, 0, 1, 1, 0, 0, 0, 1, 1], "8d 01"),
    3: ([2, 1, 0, 2, 1, 1], "8c 01"),  # 2 + 1·3 + 0·9 + 2·27 + 1·81 = 140
    4: ([3, 0, 1, 2, 1], "93 01"),
    7: ([1, 2, 3, 4, 5, 6, 0, 1, 6], "d1 58 23 06"),
    15: ([1, 14, 7], "e1 07"),
    32: ([31, 0, 1], "1f 04"),
    63: ([62, 1, 2], "7e 20 00"),
    127: ([126, 1], "fe 00"),
    255: ([0, 254], "00 fe"),
    1 << 16: ([1, 0xABCD], "01 00 cd ab"),
    1 << 32: ([0x01020304], "04 03 02 01"),
}


def symbols_of(levels: int, numel: int, seed: int = 0) -> np.ndarray:
    """Symbols, the largest and the smallest among them."""
    random = np.random.default_rng(seed)
    symbols = random.integers(0, levels, numel).astype(symbol_dtype(levels))
    symbols[-1:] = levels - 1
    return symbols


@given(LEVELS, st.integers(0, 100), st.integers(0, 99))
@example(3, 5, 0)
@example(15, 1 << 18 | 3, 0)
def test_what_is_packed_comes_back(levels: int, numel: int, seed: int) -> None:
    """Any number of symbols of any number of levels takes the bytes foretold, packed to
    the bit and packed so that none crosses the border of a byte."""
    symbols = symbols_of(levels, numel, seed)

    for width in (levels, aligned(levels)):
        packed = pack(symbols, width)
        found = unpack(packed, width, numel)

        assert packed.dtype == np.uint8
        assert packed_nbytes(numel, width) == len(packed)
        assert symbols.dtype == found.dtype
        assert symbols.tobytes() == found.tobytes()


@pytest.mark.parametrize("levels", [5, 15, 31, 127])
@pytest.mark.parametrize("extra", [-9, -1, 0, 1, 8])
def test_long_ones_come_back(levels: int, extra: int) -> None:
    """What is worked on in several stretches meets at their borders."""
    symbols = symbols_of(levels, (1 << 17) + extra)

    assert np.array_equal(symbols, unpack(pack(symbols, levels), levels, len(symbols)))


@pytest.mark.parametrize("levels", BYTES)
def test_bytes(levels: int) -> None:
    """The first symbol is in the lowest bits."""
    values, expected = BYTES[levels]
    symbols = np.array(values, symbol_dtype(levels))

    assert expected == pack(symbols, levels).tobytes().hex(" ")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        *[(2, 2), (3, 3), (4, 4), (5, 16), (8, 16), (15, 16), (16, 16), (17, 256)],
        *[(127, 256), (256, 256), (1 << 16, 1 << 16), (1 << 32, 1 << 32)],
    ],
)
def test_aligned(levels: int, expected: int) -> None:
    """Fields of 1, 2, 4 or 8 bits, or fifths of a byte."""
    assert expected == aligned(levels)


@given(LEVELS.filter(lambda levels: levels <= 128), st.integers(1, 40))
def test_nothing_follows_the_last_symbol(levels: int, numel: int) -> None:
    """What is left of the last byte is zero, or is refused."""
    packed = pack(symbols_of(levels, numel), levels)
    if levels == 3:
        room, spoilt = -numel % 5, int(packed[-1]) + 3**4
    else:
        room, spoilt = 8 * len(packed) - numel * (levels - 1).bit_length(), 0x80
        spoilt |= int(packed[-1])
    if not room:
        return
    packed[-1] = spoilt

    with pytest.raises(ValueError, match=r"^there is more than zeros after its last"):
        unpack(packed, levels, numel)


@pytest.mark.parametrize("byte", [243, 255])
def test_no_five_digits(byte: int) -> None:
    """A byte of five digits in base 3 is below 243."""
    packed = np.array([0, byte], "u1")

    with pytest.raises(ValueError, match=r"^a byte holds no five digits in base 3$"):
        unpack(packed, 3, 10)


@pytest.mark.parametrize("levels", [2, 3, 15, 255])
def test_symbols_are_below_their_levels(levels: int) -> None:
    """One that is not is named."""
    check_below(np.array([0, levels - 1], "u1"), levels)
    check_below(np.array([], "u1"), levels)

    message = re.escape(f"a symbol is {levels}, of {levels} levels")
    with pytest.raises(ValueError, match=f"^{message}$"):
        check_below(np.array([0, levels], "u1"), levels)


@pytest.mark.parametrize(("dtype", "levels"), [("u1", 256), ("<u2", 1 << 16)])
def test_whole_types_have_no_such_symbols(dtype: str, levels: int) -> None:
    """Nothing is looked for where every value is a symbol."""
    check_below(np.array([levels - 1], dtype), levels)
