"""``smh``: all tensors of the pool are consecutive stretches of one matrix product.

Structured Multi-Hashing, Eban, Movshovitz-Attias, Wu, Sandler, Poon, Idelbayev,
Carreira-Perpiñán, CVPR 2020.  With N = ceil(√N_w) and M = floor(N_b / 2N), U is N × M
and V is M × N; the working weights are the row-major entries of ``U V``, each times
its tensor's fan-out scale.  It costs M · N² multiplications: what the pools avoid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod, sqrt
from typing import Any, ClassVar

import numpy as np

from ..errors import PlanError
from ..least_squares import RIDGE, root_mean_square
from ..table import Block, Slice, SliceTable
from . import Projection, Stretch, Technique
from ._arrays import differentiable
from ._ranges import highest_ratio

#: The side from which three rounds of filling the free cells are enough: they are then
#: less than one in a hundred.
LARGE = 300
#: Share of the energy below which a fit is exact, and no ridge need bend it.
EXACT = 1e-20


@dataclass(frozen=True)
class Smh(Technique):
    """Structured Multi-Hashing."""

    zero_copy: ClassVar[bool] = False

    @property
    def degree(self) -> int:
        """Two factors."""
        return 2

    @property
    def ridge(self) -> float:
        """With free cells the best factors may lie at infinity."""
        return RIDGE

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """Every slice reads the whole pool: U, then V."""
        working = sum(block.numel for block in blocks)
        side = _side(working)
        inner = backing // (2 * side)
        if inner < 1:
            raise PlanError(
                f"smh: {backing} backing weights do not hold two factors of {side}"
                f" × 1; the least is {2 * side}",
                hint=f"Use a ratio of at most {highest_ratio(working, 2 * side)}",
            )
        total = 2 * side * inner
        return SliceTable(total, tuple(b.reading(0, total) for b in blocks))

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """The rows of the product that the stretch touches, trimmed and scaled."""
        table, piece, first, numel = stretch
        side = _side(table.working)
        begin = table.made_before(piece) + first
        top, bottom = begin // side, -(-(begin + numel) // side)
        cells = slice(begin - top * side, begin - top * side + numel)

        def make(backing: Any) -> Any:
            u, v = _factors(backing, side)
            return (u[top:bottom] @ v).reshape(-1)[cells] * scale(piece)

        def gradient(backing: Any, of_made: Any) -> Any:
            u, v = _factors(backing, side)
            of_rows = backing.new_zeros((bottom - top) * side)
            of_rows[cells] = of_made * scale(piece)
            of_rows = of_rows.reshape(-1, side)
            found = xp.zeros_like(backing)
            of_u, of_v = _factors(found, side)
            of_u[top:bottom].addmm_(of_rows, v.T)
            of_v.addmm_(u[top:bottom].T, of_rows)
            return found

        return differentiable(xp, make, gradient, backing)

    def objection(self, table: SliceTable, piece: Slice) -> str:
        """Every slice reads the whole pool, and the pool is two factors."""
        side = _side(table.working)
        if table.backing % (2 * side):
            return f"{table.backing} backing weights are not two factors of side {side}"
        if (piece.start, piece.length) != (0, table.backing):
            return "it does not read the whole pool"
        return ""

    def multiplications(self, table: SliceTable) -> int:
        """M · N²: the whole product, scales apart."""
        return table.backing // 2 * _side(table.working)

    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """Truncated singular value decomposition of the tiled, unscaled weights."""
        return Tiled(table, dtype)

    def importance(self, piece: Slice) -> float:
        """Errors count before the fan-out scale is applied."""
        return scale(piece) ** -2

    def deviations(self, table: SliceTable, working: Sequence[float]) -> np.ndarray:
        """√(1/√M) for all, so that sums of M products have variance 1: the fan-out
        scales do the rest, whatever the network's own initialiser says."""
        inner = table.backing // (2 * _side(table.working))
        return np.full(table.backing, inner**-0.25)


class Tiled:
    """Collects all weights into the N × N matrix and factors it.

    The cells beyond N_w are free.  They are the end of one row and whole rows after it:
    those rows of U are 0, and only the cut row has to be fitted to the part it has.
    """

    def __init__(self, table: SliceTable, dtype: np.dtype) -> None:
        self.table = table
        self.dtype = dtype
        self.side = _side(table.working)
        self.inner = table.backing // (2 * self.side)
        self.cells = np.zeros(self.side**2)

    def add(self, piece: Slice, at: int, working: np.ndarray) -> None:
        """Place the stretch."""
        begin = self.table.made_before(piece) + at
        self.cells[begin : begin + len(working)] = working / scale(piece)

    def finish(self) -> np.ndarray:
        """U √S ++ √S V of the singular value decomposition; NaN if a weight is."""
        if not np.isfinite(self.cells).all():
            return np.full(self.table.backing, np.nan, self.dtype)
        whole, known = divmod(self.table.working, self.side)
        rows = self.cells[: (whole + (known > 0)) * self.side].reshape(-1, self.side)
        factors = self._cut(rows, known) if known else self._factors(rows, 0.0)
        u = np.zeros((self.side, self.inner))
        u[: len(rows)] = factors[0]
        both = [u.reshape(-1), factors[1].reshape(-1)]
        return np.concatenate(both).astype(self.dtype)

    def _cut(self, rows: np.ndarray, known: int) -> tuple[np.ndarray, np.ndarray]:
        """The factors of rows of which the last has ``known`` cells.

        The whole rows give V, V gives the cut row its factor, and both its free cells;
        then again with these.
        """
        u, v = self._factors(rows[:-1], 0.0)
        row = np.linalg.lstsq(v[:, :known].T, rows[-1, :known], rcond=None)[0]
        u = np.concatenate([u, row[None]])
        missed = (u @ v - rows).reshape(-1)[: self.table.working]
        energy = root_mean_square(self.cells[: self.table.working])
        if root_mean_square(missed) <= EXACT**0.5 * energy:
            return u, v
        ridge = RIDGE * energy
        for _ in range(3 if self.side > LARGE else 2000):
            before = rows[-1, known:].copy()
            rows[-1, known:] = row @ v[:, known:]
            if np.abs(rows[-1, known:] - before).max() <= 1e-9 * energy:
                break
            u, v = self._factors(rows, ridge)
            part = v[:, :known]
            gram = part @ part.T + ridge * np.eye(self.inner)
            row = np.linalg.solve(gram, part @ rows[-1, :known])
        u[-1] = row
        return u, v

    def _factors(self, rows: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """U and V that lower ``|rows - U V|² + ridge · (|U|² + |V|²)``."""
        left, sizes, right = np.linalg.svd(rows, full_matrices=False)
        roots = np.sqrt(np.maximum(sizes[: self.inner] - ridge, 0.0))
        return left[:, : self.inner] * roots, roots[:, None] * right[: self.inner]


def _factors(backing: Any, side: int) -> tuple[Any, Any]:
    """Views of U, N × M, and V, M × N."""
    half = len(backing) // 2
    return backing[:half].reshape(side, -1), backing[half:].reshape(-1, side)


def _side(working: int) -> int:
    """N = ceil(√N_w)."""
    root = isqrt(working)
    return root + (root * root < working)


def scale(block: Block | Slice) -> float:
    """The fan-out scale: √(2 / (k_h · k_w · c_out)) of a convolution, 1/√out of a
    dense kernel."""
    if len(block.shape) > 2:
        return sqrt(2 / (prod(block.shape[2:]) * block.shape[0]))
    return 1 / sqrt(block.shape[0])
