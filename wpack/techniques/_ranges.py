"""What techniques with one range of the pool per tensor have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np

from ..errors import PlanError
from ..table import Block, Slice, SliceTable
from . import Stretch
from ._arrays import differentiable, empty

#: Refused blocks that an error names after the first.
SHOWN = 3


def budgets(blocks: Sequence[Block], backing: int) -> list[int]:
    """Backing weights for each block: ``ceil(n / N_h)``, at most n."""
    working = sum(block.numel for block in blocks)
    return [min(b.numel, -(-b.numel * backing // working)) for b in blocks]


def highest_ratio(numel: int, least: int) -> str:
    """The ratio that leaves ``numel`` weights ``least`` backing weights, or less."""
    return f"{numel * 1000 // least / 1000:.12g}"


@dataclass(frozen=True)
class Refused:
    """A block that its share of the pool cannot make.

    Attributes:
        least: How many backing weights it needs.
        why: The rule, in words.
    """

    block: Block
    least: int
    why: str


def refuse(found: Sequence[Refused]) -> None:
    """Nothing, if nothing was found.

    Raises:
        PlanError: With the first one's rule, the names of the others, and what to do
            about all of them.
    """
    if not found:
        return
    first, *others = found
    which, keep = "", "the tensor"
    if others:
        names = [refused.block.label for refused in others[:SHOWN]]
        names += ["…"] if len(others) > SHOWN else []
        plural = "s" if len(others) > 1 else ""
        which = f" (and {len(others)} more tensor{plural}: {', '.join(names)})"
        keep = "these tensors"
    tightest = min(found, key=lambda refused: refused.block.numel / refused.least)
    ratio = highest_ratio(tightest.block.numel, tightest.least)
    raise PlanError(
        first.why + which, hint=f"Use a ratio of at most {ratio}, or keep {keep}"
    )


def side_by_side(blocks: Sequence[Block], lengths: Sequence[int]) -> SliceTable:
    """A table in which each block has a range of its own, one after the other."""
    slices: list[Slice] = []
    start = 0
    for block, length in zip(blocks, lengths, strict=True):
        slices.append(block.reading(start, length))
        start += length
    return SliceTable(start, tuple(slices))


class Indexed(Protocol):
    """A technique that reads through an index."""

    def __hash__(self) -> int:
        """The index is remembered by the technique."""

    def index(self, piece: Slice, factor: int, first: int, numel: int) -> np.ndarray:
        """Positions that working weights ``first … first + numel - 1`` read, int64."""


def gather(
    xp: Any,
    values: Any,
    technique: Indexed,
    stretch: Stretch,
    factor: int = 0,
    straight: int = 0,
) -> Any:
    """``values[technique.index(…)]``, differentiable in torch.

    Args:
        straight: As many of the slice's first working weights read ``values`` in order.
            They are copied, and no index is kept of them.
    """
    _, piece, first, numel = stretch
    straight = min(max(straight - first, 0), numel)
    rest = first + straight, numel - straight
    if xp is np:
        index = technique.index(piece, factor, *rest)
    else:
        index = _on_device(xp, values.device, technique, piece, factor, *rest)
        if not straight:
            return xp.index_select(values, 0, index)
    in_order = slice(first, first + straight)

    def make(values: Any) -> Any:
        made = empty(xp, values, numel)
        made[:straight] = values[in_order]
        if xp is np:  # "clip" fills ``out`` itself; every position is inside
            values.take(index, out=made[straight:], mode="clip")
        else:
            xp.index_select(values, 0, index, out=made[straight:])
        return made

    def gradient(values: Any, of_made: Any) -> Any:
        found = xp.zeros_like(values)
        found[in_order] = of_made[:straight]
        return found.index_add_(0, index, of_made[straight:])

    return differentiable(xp, make, gradient, values)


@lru_cache(maxsize=4096)
def _on_device(xp: Any, device: Any, technique: Indexed, *arguments: Any) -> Any:
    """An index on a device: training asks for the same one at every step.

    It costs 4 bytes a working weight for as long as the process lives, 8 where a range
    has 2³¹ values or more.
    """
    piece = arguments[0]
    narrow = np.int32 if piece.numel + piece.length < 1 << 31 else np.int64
    return xp.from_numpy(technique.index(*arguments).astype(narrow)).to(device)


class TensorByTensor:
    """A projection that needs a whole tensor's weights at once.

    ``fit(piece, working)`` gives the ``(piece.length,)`` range of one slice.  Where a
    working weight is NaN or infinite there is no fit: the whole range is NaN.
    """

    def __init__(
        self,
        table: SliceTable,
        dtype: np.dtype,
        fit: Callable[[Slice, np.ndarray], np.ndarray],
    ) -> None:
        self.fit = fit
        self.backing = np.zeros(table.backing, dtype)
        self.taken: list[np.ndarray] = []
        self.filled = 0

    def add(self, piece: Slice, at: int, working: np.ndarray) -> None:
        """Collect; fit once the slice is complete."""
        self.taken.append(working.astype(np.float64))
        self.filled += len(working)
        if self.filled == piece.numel:
            working = np.concatenate(self.taken)
            finite = bool(np.isfinite(working).all())
            found = self.fit(piece, working) if finite else np.nan
            self.backing[piece.start : piece.end] = found
            self.taken, self.filled = [], 0

    def finish(self) -> np.ndarray:
        """All ranges."""
        return self.backing


class MeanOfReads:
    """The mean of all working weights that read a backing weight, for techniques that
    read through an index.

    The technique's first factor counts.
    """

    def __init__(
        self,
        table: SliceTable,
        dtype: np.dtype,
        technique: Indexed,
    ) -> None:
        self.technique = technique
        self.sums = np.zeros(table.backing, dtype)
        self.counts = np.zeros(table.backing, np.uint32)

    def add(self, piece: Slice, at: int, working: np.ndarray) -> None:
        """Add the stretch to the sums of what it reads."""
        index = self.technique.index(piece, 0, at, len(working))
        reads = slice(piece.start, piece.end)
        self.sums[reads] += np.bincount(index, working, piece.length).astype(
            self.sums.dtype
        )
        self.counts[reads] += np.bincount(index, minlength=piece.length).astype("u4")

    def finish(self) -> np.ndarray:
        """Divide in place; a backing weight that nothing reads stays 0."""
        self.sums /= np.maximum(self.counts, 1)
        return self.sums
