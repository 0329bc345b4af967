"""``all_pairs``: working weights are products of two backing weights of the tensor's
range, pair after pair.

Marwood, Covell, Baluja, §III-B and Fig. 1.  For k < n ≤ L(L - 1)/2, with
``i = k mod L`` and distance ``d = 1 + k div L``:  ``w[k] = b[i] · b[(i + d) mod L]``.
No random access: the second operands of a lap are ``b[d:] ++ b[:d]``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..least_squares import MODERATE, RIDGE, fit_products, fit_sums, root_mean_square
from ..table import Block, Slice, SliceTable
from . import Projection, Stretch, Technique
from ._arrays import differentiable, empty
from ._ranges import Refused, TensorByTensor, budgets, refuse, side_by_side


@dataclass(frozen=True)
class AllPairs(Technique):
    """The All Pairs pool, circular so that a ratio of 1 exists and use is uniform."""

    zero_copy: ClassVar[bool] = False

    @property
    def degree(self) -> int:
        """Two factors."""
        return 2

    @property
    def ridge(self) -> float:
        """The best factors may lie at infinity."""
        return RIDGE

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """``L = ceil(n / N_h)`` for each tensor, side by side."""
        lengths, refused = budgets(blocks, backing), []
        for block, length in zip(blocks, lengths, strict=True):
            pairs = length * (length - 1) // 2
            if pairs < block.numel:
                least = _least_length(block.numel)
                why = (
                    f"all_pairs: {length} backing weights make {pairs} pairs, but"
                    f" {block.label} has {block.numel} weights; it needs {least}"
                )
                refused.append(Refused(block, least, why))
        refuse(refused)
        return side_by_side(blocks, lengths)

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """Lap after lap: the range times itself turned by the lap's distance."""
        _, piece, first, numel = stretch
        reads = list(_reads(piece.length, first, numel))

        def make(b: Any) -> Any:
            w = empty(xp, b, numel)
            for k, i, j in reads:
                xp.multiply(b[i], b[j], out=w[k])
            return w

        def gradient(b: Any, of_w: Any) -> Any:
            of_b = xp.zeros_like(b)
            for k, i, j in reads:
                of_b[i].addcmul_(of_w[k], b[j])
                of_b[j].addcmul_(of_w[k], b[i])
            return of_b

        return differentiable(xp, make, gradient, backing)

    def objection(self, table: SliceTable, piece: Slice) -> str:
        """There are as many pairs as weights."""
        pairs = piece.length * (piece.length - 1) // 2
        if piece.numel <= pairs:
            return ""
        return f"{piece.length} backing weights make {pairs} pairs, not {piece.numel}"

    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """An iterative least-squares fit, tensor by tensor."""
        return TensorByTensor(table, dtype, _fit)


def _reads(length: int, first: int, numel: int) -> Iterator[tuple[slice, slice, slice]]:
    """``w[k] = b[i] · b[j]`` in stretches over which k, i and j all go on by one: laps,
    cut where the second operand passes the end of the range."""
    at = 0
    while at < numel:
        lap, i = divmod(first + at, length)
        j = (i + 1 + lap) % length
        count = min(length - i, length - j, numel - at)
        yield slice(at, at + count), slice(i, i + count), slice(j, j + count)
        at += count


def _least_length(numel: int) -> int:
    """The smallest L with L(L - 1)/2 ≥ numel."""
    length = int((1 + (1 + 8 * numel) ** 0.5) / 2)
    while length * (length - 1) // 2 < numel:
        length += 1
    return length


def _fit(piece: Slice, working: np.ndarray) -> np.ndarray:
    lap, i = np.divmod(np.arange(piece.numel), piece.length)
    indices = [i, (i + 1 + lap) % piece.length]
    start = _start(working / (root_mean_square(working) or 1.0), indices, piece.length)
    return fit_products(working, indices, [start])


def _start(
    working: np.ndarray, indices: Sequence[np.ndarray], length: int
) -> np.ndarray:
    """Exact where the weights are products: logarithms of sizes are sums, and signs
    follow from neighbour to neighbour.  Elsewhere better than a random one."""
    sizes = np.log(np.maximum(np.abs(working), 1e-3))
    signs = np.ones(length)
    chain = np.where(working[: length - 1] < 0, -1.0, 1.0)
    signs[1 : 1 + len(chain)] = np.cumprod(chain)
    most = np.log(MODERATE)
    signs *= np.exp(np.clip(fit_sums(sizes, indices, length), -most, most))
    return signs
