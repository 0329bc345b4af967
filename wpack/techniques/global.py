"""``global``: one circular queue of backing weights read by all tensors in turn.

Marwood, Covell, Baluja, "Not All Network Weights Need to Be Free", §III-D and Fig. 3.
Working weight i of tensor t is ``b[(start_t + i) mod N_b]``: no multiplication, no
random access, so a working weight can be a view of the stored pool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Literal

import numpy as np

from ..errors import PlanError
from ..table import Block, Slice, SliceTable
from . import Projection, Stretch, Technique


@dataclass(frozen=True)
class Global(Technique):
    """The Global Weight Pool.

    Attributes:
        placement: ``ring`` (the paper's): each tensor starts where the one before it
            ended.  ``pack``: the same, but a tensor that would pass the end of the
            pool is moved back to end there, so none wraps.  ``fold``: the ring, each
            lap after the first turned by an amount of its own, so that the weights
            met at one place differ from lap to lap; a tensor that crosses a lap's end
            is two slices.
        order: Globs over tensor names (``name#part`` for parts).  Tensors take their
            places on the ring in the order of the first glob that matches them;
            within one glob, in checkpoint order.
        start: Glob → first backing weight of the tensors that match it; the ring goes
            on from there.
    """

    zero_copy: ClassVar[bool] = True

    placement: Literal["ring", "pack", "fold"] = "ring"
    order: tuple[str, ...] = ()
    start: Mapping[str, int] = field(default_factory=dict)

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """Walk the ring once over all blocks; see :class:`Global` for the rules."""
        placed: dict[int, list[Slice]] = {}
        position = 0
        for index in self._ring_order(blocks):
            block = blocks[index]
            position = self._explicit_start(block, backing, position)
            if self.placement == "pack":
                position = _pack(block, backing, position)
            if self.placement == "fold":
                placed[index] = _fold(block, backing, position)
            else:
                placed[index] = [block.reading(position % backing, block.numel)]
            position += block.numel
        return SliceTable(
            backing, tuple(s for index in range(len(blocks)) for s in placed[index])
        )

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """The range itself."""
        return backing[stretch.first : stretch.first + stretch.numel]

    @property
    def takes_mean(self) -> bool:
        """Always."""
        return True

    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """The mean of all working weights that read a backing weight."""
        return Mean(table, dtype)

    def _ring_order(self, blocks: Sequence[Block]) -> list[int]:
        if not self.order:
            return list(range(len(blocks)))
        ranks = [_first_match(self.order, block.label) for block in blocks]
        unmatched = [b.label for b, r in zip(blocks, ranks, strict=True) if r is None]
        if unmatched:
            raise PlanError(
                f"order: no pattern matches {unmatched[0]}"
                f" ({len(unmatched)} of {len(blocks)} tensors unmatched)",
                hint="End the list with '*'",
            )
        return sorted(range(len(blocks)), key=lambda i: (ranks[i], i))

    def _explicit_start(self, block: Block, backing: int, position: int) -> int:
        found = _first_match(tuple(self.start), block.label)
        if found is None:
            return position
        start = tuple(self.start.values())[found]
        if not 0 <= start < backing:
            raise PlanError(
                f"start: {block.label} is to start at {start}, but the pool has"
                f" {backing} backing weights (0 … {backing - 1})"
            )
        return start


class Mean:
    """The joint least-squares solution of identity reads: one running sum per backing
    weight.  No counts are kept, since the slice table knows them."""

    def __init__(self, table: SliceTable, dtype: np.dtype) -> None:
        self.table = table
        # The neutral element of addition is -0: with it a -0 read once stays one.
        self.sums = np.full(table.backing, -0.0, dtype)

    def add(self, piece: Slice, at: int, working: np.ndarray) -> None:
        """Add the stretch to the sums of the backing weights it reads."""
        start, taken = (piece.start + at) % self.table.backing, 0
        while taken < len(working):
            length = min(len(working) - taken, self.table.backing - start)
            self.sums[start : start + length] += working[taken : taken + length]
            start, taken = 0, taken + length

    def finish(self) -> np.ndarray:
        """Divide in place; a backing weight that nothing reads stays 0."""
        for run in self.table.reuse():
            reads = slice(run.start, run.start + run.length)
            if run.count == 0:
                self.sums[reads] = 0.0
            elif run.count > 1:
                self.sums[reads] /= run.count
        return self.sums


def _first_match(patterns: Sequence[str], label: str) -> int | None:
    matches = (i for i, p in enumerate(patterns) if fnmatchcase(label, p))
    return next(matches, None)


def _pack(block: Block, backing: int, position: int) -> int:
    """Where a block starts so that it does not wrap."""
    if block.numel > backing:
        raise PlanError(
            f"placement pack: {block.label} has {block.numel} weights, more than the"
            f" pool's {backing} backing weights",
            hint="Lower the ratio, keep the tensor, or use placement: ring",
        )
    start = position % backing
    return start if start + block.numel <= backing else backing - block.numel


def _fold(block: Block, backing: int, position: int) -> list[Slice]:
    """Cut a block where a lap ends; turn lap q by ``mix(q) mod backing``.

    STABLE-RPS (Desai, Shrivastava, ICLR 2024) turns each fold of the weights so.
    """
    slices: list[Slice] = []
    at = 0
    while at < block.numel:
        lap, place = divmod(position + at, backing)
        numel = min(block.numel - at, backing - place)
        whole = numel == block.numel
        piece = block if whole else block.cut(block.shape, at, numel)
        slices.append(piece.reading((place + _turn(lap, backing)) % backing, numel))
        at += numel
    return slices or [block.reading(position % backing, 0)]


def _turn(lap: int, backing: int) -> int:
    """0 for the first lap; for others the splitmix64 hash of the lap's number."""
    if lap == 0:
        return 0
    mask = (1 << 64) - 1
    z = (lap * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return (z ^ (z >> 31)) % backing
