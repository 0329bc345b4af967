"""``int``: whole numbers of 2 to 8 bits times a scale for each block of weights.

Linear and symmetric (Quantized Neural Networks, Hubara et al. 2016): with
m = 2^(bits − 1) − 1, a weight is stored as a whole number from −m to m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ._arrays import library, row_most, row_sums
from ._grid import Grid, half_below

#: bits → which shares of a block's largest weight are tried as the largest that is not
#: clipped: fewer bits gain more from clipping.  The squared error of normal or Laplace
#: weights is then within 6 % of the least that any scale has.
_SHARES = {
    2: (1.0, 0.65, 0.45, 0.3),
    3: (1.0, 0.82, 0.64, 0.46),
    4: (1.0, 0.87, 0.74, 0.61),
    5: (1.0, 0.92, 0.84, 0.76),
    6: (1.0,),
    7: (1.0,),
    8: (1.0,),
}


@dataclass(frozen=True)
class Int(Grid):
    """Whole numbers times a scale a block.

    With a = a block's largest magnitude over m and A = the pool's, the root of the mean
    squared error of a block is at most a / 2 + m · A · 2^-22; where no weight is
    clipped (always, if bits ≥ 6), each weight's error is.

    Attributes:
        bits: Of a whole number, from 2 to 8; of the 2^bits numbers all but one are
            used.
        block: Weights that share a scale: a power of two from 8 to 2^20.
    """

    bits: int = 8
    block: int = 64

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: A field is out of its range.
        """
        if self.bits not in _SHARES:
            raise ValueError(f"bits must be from 2 to 8, got {self.bits}")
        super().__post_init__()

    @property
    def wholes(self) -> range:
        """From −m to m."""
        most = (1 << (self.bits - 1)) - 1
        return range(-most, most + 1)

    def fit(self, rows: Any, numels: Any) -> tuple[Any, Any]:
        """The scale of a block is searched for: of those that clip nothing or more and
        more, the one of the smallest squared error; then, if that is smaller still, the
        least-squares scale for its whole numbers."""
        # Scales are rounded down, so that a block's largest weight always is ±m:
        # encoding what was decoded finds its scale again.
        most = row_most(rows) / self.wholes[-1]
        best, least = half_below(most), None
        for share in _SHARES[self.bits]:
            scales = half_below(most * share)
            best, least = self._better(rows, scales, best, least)
        wholes = self._nearest(rows, best)
        squares = row_sums(wholes * wholes).clip(1)
        fitted = library(rows).minimum(row_sums(rows * wholes) / squares, most)
        best, _ = self._better(rows, half_below(fitted), best, least)
        return best, self._nearest(rows, best)

    def _better(
        self, rows: Any, scales: Any, best: Any, least: Any | None
    ) -> tuple[Any, Any]:
        """The better scale of each block, and its squared error."""
        errors = rows - self._nearest(rows, scales) * scales[:, None]
        errors *= errors
        found = row_sums(errors)
        if least is None:
            return scales, found
        xp = library(rows)
        return xp.where(found < least, scales, best), xp.minimum(found, least)

    def _nearest(self, rows: Any, scales: Any) -> Any:
        """The whole numbers nearest to values over scales; 0 where the scale is."""
        some = scales > 0
        inverse = some / (scales + ~some)
        most = self.wholes[-1]
        return (rows * inverse[:, None]).round().clip(-most, most)
