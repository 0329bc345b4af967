"""The values of a coded pool, decoded in order and put where they belong.

Whatever a file holds, no NaN and no infinity comes of it: no codec stores those.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .codecs import Decode
from .codecs._cast import refuse_not_finite
from .errors import FormatError
from .tensors import DType, from_float, sum_dtype

#: Symbols decoded at a time: with what is made of them they stay in a core's cache.
PIECE = 1 << 16


class Values:
    """Stored values, read in order.

    Args:
        codes: What is left to decode, in pieces.
        words: How many codes a value has.
        decode: Turns codes into raw values of ``dtype``.
        where: What to call the pool in messages.
    """

    def __init__(
        self,
        codes: Iterator[np.ndarray],
        words: int,
        decode: Decode,
        dtype: DType,
        where: str,
    ) -> None:
        self._codes, self._words, self._decode = codes, words, decode
        self._where = where
        self._first = 0
        self._rest = np.empty(0, dtype.raw)

    def read(self, out: np.ndarray) -> None:
        """Fill ``out`` with the next values, of which there must be so many.

        Raises:
            FormatError: One of them is NaN or infinite.
        """
        at = min(len(self._rest), len(out))
        out[:at], self._rest = self._rest[:at], self._rest[at:]
        while at < len(out):
            codes = next(self._codes)
            numel = len(codes) // self._words
            room = out[at : at + numel]
            made = room if len(room) == numel else np.empty(numel, out.dtype)
            try:
                self._decode(codes, self._first, made)
            except ValueError as error:
                raise FormatError(str(error), where=self._where) from None
            if made is not room:
                room[:], self._rest = made[: len(room)], made[len(room) :]
            self._first += numel
            at += len(room)


def scatter(
    masks: Iterator[np.ndarray],
    values: Values,
    survivors: int,
    out: np.ndarray,
    where: str,
) -> None:
    """Put values where a mask says, and zeros elsewhere.

    Raises:
        FormatError: The mask keeps more or fewer values than there are.
    """
    begin, kept = 0, 0
    for mask in masks:
        places = np.flatnonzero(mask.view(bool))
        kept += len(places)
        if kept > survivors:
            break
        read = np.empty(len(places), out.dtype)
        values.read(read)
        block = out[begin : begin + len(mask)]
        block[:] = 0
        block[places] = read
        begin += len(mask)
    if kept != survivors:
        raise FormatError(
            f"its mask keeps {'more' if kept > survivors else 'fewer'} values than the"
            f" {survivors} that are stored",
            where=where,
        )


def pieces(chunks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Chunks, cut."""
    for chunk in chunks:
        for at in range(0, len(chunk), PIECE):
            yield chunk[at : at + PIECE]


def copying(dtype: DType) -> Decode:
    """Decode values whose own bits are their codes."""

    def decode(codes: np.ndarray, first: int, out: np.ndarray) -> None:
        raw = codes.view(dtype.raw)
        refuse_not_finite(raw, dtype, first)
        out[:] = raw

    return decode


def rounding(decode: Decode, dtype: DType) -> Decode:
    """Decode by way of the type that values are computed in, where that is another."""
    wide_dtype = sum_dtype(dtype)
    if wide_dtype == dtype.raw:
        return decode

    def decode_and_round(codes: np.ndarray, first: int, out: np.ndarray) -> None:
        wide = np.empty(len(codes), wide_dtype)
        decode(codes, first, wide)
        raw = from_float(wide, dtype)
        refuse_not_finite(raw, dtype, first)
        out[:] = raw

    return decode_and_round
