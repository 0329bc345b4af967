"""Symbols packed to the bit, and back.

Up to 256 levels take b = ⌈log2 levels⌉ bits each, the first symbol in the lowest bits
of a byte, and run on over byte borders; three levels take a fifth of a byte (five
digits in base 3, the first the lowest).  2^16 and 2^32 levels are little-endian
integers.

Eight symbols, each in a byte of a 64-bit word, and the 8·b bits they are packed to are
turned into one another by three shifts of halves of the word, of quarters and of
eighths: numpy does each for a whole chunk, at the speed of memory.
"""

from __future__ import annotations

import numpy as np

#: Symbols of three levels in a byte: 3^5 ≤ 256.
_TRITS = 5
_POWERS = 3 ** np.arange(_TRITS, dtype="u1")
#: Symbols in a word, which together fill whole bytes, whatever they take.
_GROUP = 8
#: Groups worked on at a time, so that they stay in a core's cache.
_STRETCH = 1 << 14
#: byte → its digits.
_DIGITS = (np.arange(3**_TRITS)[:, None] // _POWERS % 3).astype("u1")


def symbol_dtype(levels: int) -> str:
    """The numpy type of symbols below ``levels``."""
    if levels <= 1 << 8:
        return "u1"
    return "<u2" if levels <= 1 << 16 else "<u4"


def bits_of(levels: int) -> int:
    """Bits that a symbol below ``levels`` takes where it is not packed in base 3."""
    return (levels - 1).bit_length()


def aligned(levels: int) -> int:
    """Levels as which symbols are packed so that none crosses the border of a byte:
    what an entropy coder of bytes needs to see how often each comes."""
    if levels == 3 or levels > 1 << 8:
        return levels
    width = next(width for width in (1, 2, 4, 8) if bits_of(levels) <= width)
    return 1 << width


def packed_nbytes(numel: int, levels: int) -> int:
    """Bytes that ``numel`` symbols take."""
    if levels == 3:
        return -(-numel // _TRITS)
    return -(-numel * bits_of(levels) // 8)


def pack(symbols: np.ndarray, levels: int) -> np.ndarray:
    """Symbols as ``(packed_nbytes(numel, levels),)`` of ``u1``."""
    bits = bits_of(levels)
    if bits >= 8:
        return np.ascontiguousarray(symbols, symbol_dtype(levels)).view("u1")
    if levels == 3:
        digits = _in_groups(symbols, _TRITS) * _POWERS
        packed: np.ndarray = digits.sum(axis=1, dtype="u1")
        return packed
    if bits == 1:
        return np.packbits(symbols, bitorder="little")
    words = _in_groups(symbols, _GROUP).reshape(-1).view("<u8")
    for width, place in reversed(_halvings(bits)):
        high = words & _fields(width, place, place)
        words = words & _fields(width, place, 0) | high >> np.uint64(place - width)
    packed = words.view("u1").reshape(-1, 8)[:, :bits].reshape(-1)
    return packed[: packed_nbytes(len(symbols), levels)]


def unpack(packed: np.ndarray, levels: int, numel: int) -> np.ndarray:
    """The ``(numel,)`` symbols that :func:`pack` was given.  Some may not be below
    ``levels``: :func:`check_below` looks for them.

    Raises:
        ValueError: There is more than zeros after the last symbol, or a byte holds no
            five digits.
    """
    bits = bits_of(levels)
    if bits >= 8:
        return packed.view(symbol_dtype(levels))
    if levels == 3:
        if int(packed.max(initial=0)) >= len(_DIGITS):
            raise ValueError("a byte holds no five digits in base 3")
        symbols = np.take(_DIGITS, packed, axis=0, mode="clip").reshape(-1)
    elif bits == 1:
        symbols = np.unpackbits(packed, bitorder="little")
    else:
        symbols = _unpacked(packed, bits, -(-numel // _GROUP))
    if symbols[numel:].any():
        raise ValueError("there is more than zeros after its last symbol")
    return symbols[:numel]


def check_below(symbols: np.ndarray, levels: int) -> None:
    """Refuse symbols that are not below ``levels``.

    Raises:
        ValueError: There is one.
    """
    if levels < 1 << 8 * symbols.itemsize:
        largest = int(symbols.max(initial=0))
        if largest >= levels:
            raise ValueError(f"a symbol is {largest}, of {levels} levels")


def _in_groups(symbols: np.ndarray, size: int) -> np.ndarray:
    """Symbols as ``u1`` in rows of ``size``, zeros after the last."""
    groups = np.zeros((-(-len(symbols) // size), size), "u1")
    groups.reshape(-1)[: len(symbols)] = symbols
    return groups


def _halvings(bits: int) -> list[tuple[int, int]]:
    """How a group's bits are taken apart, from the coarsest: fields of so many bits,
    and the places, in bits, that they get."""
    return [(4 * bits, 32), (2 * bits, 16), (bits, 8)]


def _fields(width: int, place: int, first: int) -> np.ndarray:
    """Every other field of a word: ``width`` bits from bit ``first`` on, every second
    place."""
    field = (1 << width) - 1
    fields = sum(field << first + begin for begin in range(0, 64, 2 * place))
    return np.array(fields, "<u8")


def _unpacked(packed: np.ndarray, bits: int, groups: int) -> np.ndarray:
    """Groups of symbols, zeros after the last."""
    words = np.empty(groups, "<u8")
    moves = [
        (_fields(width, place, 0), _fields(width, place, width), place - width)
        for width, place in _halvings(bits)
    ]
    for begin in range(0, groups, _STRETCH):
        stretch = words[begin : begin + _STRETCH]
        stretch[:] = _read(packed, bits, begin, len(stretch))
        for low, high, shift in moves:
            moved = stretch & high
            moved <<= np.uint64(shift)
            stretch &= low
            stretch |= moved
    return words.view("u1")


def _read(packed: np.ndarray, bits: int, first: int, number: int) -> np.ndarray:
    """Groups of bits, each in the lowest bits of a word."""
    # A word is read from where its group begins, and runs on into the next ones.
    padded = np.zeros(number * bits + 8, "u1")
    found = packed[first * bits : first * bits + len(padded)]
    padded[: len(found)] = found
    if bits in (2, 4):
        return padded[: number * bits].view(f"<u{bits}")
    words: np.ndarray = np.ndarray((number,), "<u8", padded, strides=(bits,))
    words = words & np.uint64((1 << _GROUP * bits) - 1)
    return words
