"""``outer``: a tensor is the outer product of two vectors, laid along its rows.

Marwood, Covell, Baluja, §III-A.  The range holds u (N1 values), then v (N2 values):
``w[p] = u[p div N2] · v[p mod N2]`` for p < n.  N2 must not fall into step with the
rows of the flattened tensor, whose length is c: it is the smallest integer of at least
``ceil(n / N1)`` with gcd(N2, c) = 1 and lcm(N2, c) ≥ n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, isqrt, prod
from typing import Any, ClassVar

import numpy as np

from ..least_squares import root_mean_square
from ..permutation import permutation, seed_of
from ..table import Block, Slice, SliceTable
from . import Projection, Stretch, Technique
from ._arrays import differentiable, empty, in_rows
from ._ranges import Refused, TensorByTensor, budgets, gather, refuse, side_by_side

#: Alternating sweeps of the projection; each is exact in one factor.
SWEEPS = 500


@dataclass(frozen=True)
class Outer(Technique):
    """The Outer Product pool.

    Attributes:
        permute: Shuffle the product's cells before they become weights (Table I's
            "Outer Product with Permute").
        seed: Chooses the permutation, with the tensor's name.
    """

    zero_copy: ClassVar[bool] = False

    permute: bool = False
    seed: int = 0

    @property
    def degree(self) -> int:
        """Two factors."""
        return 2

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """The smallest N1 whose N1 + N2 is within the tensor's share."""
        lengths, refused = [], []
        for block, budget in zip(blocks, budgets(blocks, backing), strict=True):
            sides = _sides_within(block.numel, _row(block), budget)
            if sides is None:
                least = _least(block.numel, _row(block))
                why = (
                    f"outer: {block.label}, shape {list(block.shape)}, cannot be made"
                    f" from {budget} backing weights; the least is {least}"
                )
                refused.append(Refused(block, least, why))
            else:
                lengths.append(sum(sides))
        refuse(refused)
        return side_by_side(blocks, lengths)

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """The product's cells in order, or in permuted order."""
        sides = self.sides(stretch.piece)
        if not self.permute:
            return _product(xp, backing, sides, stretch.first, stretch.numel)
        cells = _product(xp, backing, sides, 0, prod(sides))
        return gather(xp, cells, self, stretch)

    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """The rank-1 fit; the cells beyond n are free."""
        return TensorByTensor(table, dtype, self._fit)

    def random_accesses(self, table: SliceTable) -> int:
        """One a weight where the cells are shuffled."""
        return table.working if self.permute else 0

    def sides(self, piece: Slice) -> tuple[int, int]:
        """N1 and N2 of a slice, from its length."""
        return _sides_of(piece.numel, _row(piece), piece.length)

    def index(self, piece: Slice, factor: int, first: int, numel: int) -> np.ndarray:
        """The cell of the product that each working weight takes when permuted."""
        n1, n2 = self.sides(piece)
        order = permutation(seed_of(self.seed, piece.label), 0, factor, n1 * n2)
        return order[first : first + numel]

    def objection(self, table: SliceTable, piece: Slice) -> str:
        """The range is as long as some N1 + N2."""
        try:
            self.sides(piece)
        except ValueError as error:
            return str(error)
        return ""

    def _fit(self, piece: Slice, working: np.ndarray) -> np.ndarray:
        n1, n2 = self.sides(piece)
        cells = np.arange(piece.numel)
        if self.permute:
            cells = self.index(piece, 0, 0, piece.numel)
        matrix, known = np.zeros(n1 * n2), np.zeros(n1 * n2)
        matrix[cells], known[cells] = working, 1.0
        return _rank_one(matrix.reshape(n1, n2), known.reshape(n1, n2))


def _product(
    xp: Any, backing: Any, sides: tuple[int, int], first: int, numel: int
) -> Any:
    """Cells ``first … first + numel - 1`` of the outer product, row by row."""
    n1, n2 = sides
    table = list(in_rows(first, numel, n2))

    def make(backing: Any) -> Any:
        u, v = backing[:n1], backing[n1:]
        w = empty(xp, backing, numel)
        for cells, rows, columns, shape in table:
            xp.multiply(u[rows, None], v[columns], out=w[cells].reshape(shape))
        return w

    def gradient(backing: Any, of_w: Any) -> Any:
        u, v = backing[:n1], backing[n1:]
        found = xp.zeros_like(backing)
        of_u, of_v = found[:n1], found[n1:]
        for cells, rows, columns, shape in table:
            of_cells = of_w[cells].reshape(shape)
            of_u[rows].addmv_(of_cells, v[columns])
            of_v[columns].addmv_(of_cells.T, u[rows])
        return found

    return differentiable(xp, make, gradient, backing)


def _rank_one(matrix: np.ndarray, known: np.ndarray) -> np.ndarray:
    """u ++ v with u vᵀ nearest to the known cells (the others hold 0); both of
    one root mean square."""
    tiny = np.finfo(float).tiny
    vectors = np.linalg.eigh(matrix @ matrix.T)[1]
    u = vectors[:, -1]
    v = (u @ matrix) / np.maximum((u * u) @ known, tiny)
    for _ in range(SWEEPS):
        before = u
        u = (matrix @ v) / np.maximum(known @ (v * v), tiny)
        v = (u @ matrix) / np.maximum((u * u) @ known, tiny)
        # Only the direction settles; the length moves between u and v at will.
        size = np.linalg.norm(u) + tiny
        u, v = u / size, v * size
        if np.abs(u - before).max() <= 1e-14:
            break
    balance = np.sqrt((root_mean_square(v) + tiny) / (root_mean_square(u) + tiny))
    return np.concatenate([u * balance, v / balance])


def _row(block: Block | Slice) -> int:
    """c: the period of the flattened rows."""
    return prod(block.shape[1:])


@lru_cache(maxsize=4096)
def _second_side(numel: int, row: int, n1: int) -> int:
    n2 = max(-(-numel // n1), -(-numel // row))  # lcm(N2, c) is N2 · c
    while gcd(n2, row) != 1:
        n2 += 1
    return n2


@lru_cache(maxsize=4096)
def _sides_within(numel: int, row: int, budget: int) -> tuple[int, int] | None:
    """The smallest N1 ≥ 2 with N1 + N2 ≤ budget (N1 = 1 saves nothing)."""
    for n1 in range(max(2, _below(numel, budget)), isqrt(numel) + 2):
        n2 = _second_side(numel, row, n1)
        if n1 + n2 <= budget:
            return n1, n2
    return None


@lru_cache(maxsize=4096)
def _sides_of(numel: int, row: int, length: int) -> tuple[int, int]:
    """The smallest N1 with N1 + N2 = length: what :func:`_sides_within` chose."""
    for n1 in range(max(2, _below(numel, length)), isqrt(numel) + 2):
        if n1 + _second_side(numel, row, n1) == length:
            return n1, length - n1
    raise ValueError(
        f"no outer product of {numel} weights has {length} backing weights"
    )


def _below(numel: int, length: int) -> int:
    """No smaller N1 can do: the lower root of N1 + n/N1 = length."""
    inside = length * length - 4 * numel
    return (length - isqrt(inside)) // 2 if inside >= 0 else isqrt(numel) + 2


def _least(numel: int, row: int) -> int:
    sums = (n1 + _second_side(numel, row, n1) for n1 in range(2, isqrt(numel) + 2))
    return min(sums, default=numel + 1)
