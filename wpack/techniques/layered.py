"""``layered``: each tensor repeats its own range, permuted anew on every lap.

Marwood, Covell, Baluja, §III-C and Fig. 2.  With L backing weights for n working
weights and q, r = divmod(i, L), working weight i is ``b[r]`` on the first lap and
``b[π_q(r)]`` on the others; with m > 1 it is the product of m such reads, each with
permutations of its own.  ``docs/format.md`` defines π.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..least_squares import RIDGE, fit_products
from ..permutation import permutation, seed_of
from ..table import Block, Slice, SliceTable
from . import Projection, Stretch, Technique
from ._ranges import MeanOfReads, TensorByTensor, budgets, gather, side_by_side

#: Most factors of a working weight: what a file asks for is done for every weight.
MAX_FACTORS = 64
#: Above this many weights the local optima of products are all equally good.
LARGE = 4096


@dataclass(frozen=True)
class Layered(Technique):
    """The Layered Weight Pool.

    Attributes:
        m: Factors of a working weight (the paper finds 1 best).
        seed: Chooses the permutations, with the tensor's name.
    """

    zero_copy: ClassVar[bool] = False

    m: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ValueError(f"m must be at least 1, got {self.m}")
        if self.m > MAX_FACTORS:
            raise ValueError(f"m must be at most {MAX_FACTORS}, got {self.m}")

    @property
    def degree(self) -> int:
        """m factors."""
        return self.m

    @property
    def ridge(self) -> float:
        """Of products, the best factors may lie at infinity."""
        return RIDGE if self.m > 1 else 0.0

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """``L = ceil(n / N_h)`` for each tensor, side by side."""
        return side_by_side(blocks, budgets(blocks, backing))

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """The product of m permuted reads."""
        # The first lap is the range itself.
        made = gather(xp, backing, self, stretch, straight=stretch.piece.length)
        for factor in range(1, self.m):
            made = made * gather(xp, backing, self, stretch, factor)
        return made

    @property
    def takes_mean(self) -> bool:
        """Without products."""
        return self.m == 1

    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """The mean for m = 1, an iterative least-squares fit for products."""
        if self.m == 1:
            return MeanOfReads(table, dtype, self)
        return TensorByTensor(table, dtype, self._fit)

    def random_accesses(self, table: SliceTable) -> int:
        """All m · n reads but the first lap of the first factor."""
        return sum(self.m * s.numel - min(s.numel, s.length) for s in table.slices)

    def index(self, piece: Slice, factor: int, first: int, numel: int) -> np.ndarray:
        """Positions that working weights ``first … first + numel - 1`` read."""
        length, seed = piece.length, seed_of(self.seed, piece.label)
        laps = [np.empty(0, np.int64)]
        for lap in range(first // length, -(-(first + numel) // length)):
            begin = max(first - lap * length, 0)
            end = min(first + numel - lap * length, length)
            if lap == factor == 0:
                laps.append(np.arange(begin, end))
            else:
                laps.append(permutation(seed, lap, factor, length)[begin:end])
        return np.concatenate(laps)

    def _fit(self, piece: Slice, working: np.ndarray) -> np.ndarray:
        indices = [self.index(piece, j, 0, piece.numel) for j in range(self.m)]
        random = np.random.default_rng(0)
        tries = 3 if piece.numel <= LARGE else 1
        starts = (random.standard_normal(piece.length) for _ in range(tries))
        return fit_products(working, indices, starts)
