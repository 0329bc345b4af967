"""``hashed``: each working weight reads a backing weight of its tensor's range chosen
by a hash of its position.

Chen, Wilson, Tyree, Weinberger, Chen, "Compressing Neural Networks with the Hashing
Trick" (HashedNets, ICML 2015).  Backing weights are not used equally often; it stands
here to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..permutation import seed_of, stream
from ..table import Block, Slice, SliceTable
from . import Projection, Stretch, Technique
from ._ranges import MeanOfReads, budgets, gather, side_by_side


@dataclass(frozen=True)
class Hashed(Technique):
    """HashedNets.

    Attributes:
        seed: Chooses the hash, with the tensor's name.
    """

    zero_copy: ClassVar[bool] = False

    seed: int = 0

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """``L = ceil(n / N_h)`` for each tensor, side by side."""
        return side_by_side(blocks, budgets(blocks, backing))

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """``b[h(i)]``."""
        return gather(xp, backing, self, stretch)

    @property
    def takes_mean(self) -> bool:
        """Always."""
        return True

    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """The mean of the working weights that fall into a bucket."""
        return MeanOfReads(table, dtype, self)

    def random_accesses(self, table: SliceTable) -> int:
        """Every read."""
        return table.working

    def index(self, piece: Slice, factor: int, first: int, numel: int) -> np.ndarray:
        """h(i): output i of the tensor's splitmix64 stream, modulo L."""
        keys = stream(seed_of(self.seed, piece.label), first, first + numel)
        buckets: np.ndarray = keys % np.uint64(piece.length)
        return buckets.astype(np.int64)
