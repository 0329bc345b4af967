"""``binary``: a sign for each weight and a scale for each block.

The scale is the mean magnitude of the block's weights, which has the least squared
error (XNOR-Net, Rastegari et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._arrays import library, row_sums
from ._grid import Grid, nearest_half


@dataclass(frozen=True)
class Binary(Grid):
    """sign(w) · mean \\|w\\|; 0 counts as positive.

    No error is larger than (1 + 2^-10) times its block's largest magnitude, or than
    2^-23 of the pool's.  Zero is no level: a block of zeros comes back as at most 2^-23
    of the pool's largest magnitude.

    Attributes:
        block: Weights that share a scale: a power of two from 8 to 2^20.
    """

    block: int = 128

    @property
    def wholes(self) -> range:
        """−1 and 1."""
        return range(-1, 2, 2)

    def fit(self, rows: Any, numels: Any) -> tuple[Any, Any]:
        """Mean magnitude and sign."""
        scales = nearest_half(row_sums(abs(rows)) / numels)
        ones = library(rows).ones_like(rows)
        return scales, library(rows).where(rows < 0, -ones, ones)
