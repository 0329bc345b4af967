"""Codes to values through a table, at the speed of memory."""

from __future__ import annotations

from functools import cached_property

import numpy as np

#: Codes from which on a table of pairs is worth its making.
_MANY = 1 << 15


class Lookup:
    """Code c is ``table[c]``.

    Args:
        table: ``(levels,)`` of float32, at most 256 levels.
    """

    def __init__(self, table: np.ndarray) -> None:
        self._table = table

    def __call__(self, codes: np.ndarray, first: int, out: np.ndarray) -> None:
        """A :data:`wpack.codecs.Decode`; codes are ``u1`` and contiguous."""
        if out.itemsize == 8 or len(codes) < _MANY:
            table = self._table.astype(out.dtype, copy=False)
            np.take(table, codes, out=out, mode="clip")
            return
        even = len(codes) & ~1
        pairs, places = codes[:even].view("<u2"), out[:even].view("<u8")
        np.take(self._pairs, pairs, out=places, mode="clip")
        out[even:] = self._table[codes[even:]]

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Two codes, as the ``<u2`` they are in memory, to two values."""
        values = np.zeros(256, "<f4")
        values[: len(self._table)] = self._table
        pairs = np.empty((256, 256, 2), "<f4")
        pairs[..., 0], pairs[..., 1] = values, values[:, None]
        return pairs.view("<u8").reshape(-1)
