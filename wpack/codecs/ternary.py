"""``ternary``: −1, 0 or 1 for each weight and a scale for each block.

Weights up to 0.7 of the block's mean magnitude become 0, and the scale is the mean
magnitude of the others (Ternary Weight Networks, Li et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._arrays import cast, dtype_name, library, row_sums
from ._grid import Grid, nearest_half

#: Of the mean magnitude: near the best threshold of normal and uniform weights.
_THRESHOLD = 0.7


@dataclass(frozen=True)
class Ternary(Grid):
    """0, or ± the mean of the magnitudes above 0.7 · mean \\|w\\|.

    No error is larger than (1 + 2^-10) times its block's largest magnitude, or than
    2^-23 of the pool's.

    Attributes:
        block: Weights that share a scale: a power of two from 8 to 2^20.
    """

    block: int = 128

    @property
    def wholes(self) -> range:
        """−1, 0 and 1."""
        return range(-1, 2)

    def fit(self, rows: Any, numels: Any) -> tuple[Any, Any]:
        """Mean magnitude of those above the threshold, and their signs."""
        magnitudes = abs(rows)
        means = row_sums(magnitudes) / numels
        above = magnitudes > (means * _THRESHOLD)[:, None]
        large = cast(above, dtype_name(rows))
        numbers = row_sums(large).clip(1)
        scales = nearest_half(row_sums(magnitudes * large) / numbers)
        return scales, library(rows).sign(rows) * large
