"""Slices: which working weights read which range of a pool.  Pure integers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import NamedTuple


class Block(NamedTuple):
    """Working weights ``first … first + numel - 1`` of a tensor, in row-major order: a
    whole tensor, a named part of one, or what a layout cut from either.

    Attributes:
        tensor: Name of the working tensor.
        shape: Shape of the block (the tensor's own for a whole tensor; a part has the
            tensor's trailing dimensions).
        first: Position of the block's first working weight in its tensor.
        numel: Working weights in the block.
        part: The spec's name for the part, or "" for a whole tensor.
    """

    tensor: str
    shape: tuple[int, ...]
    first: int
    numel: int
    part: str

    @property
    def label(self) -> str:
        """``tensor`` or ``tensor#part``, as the spec names it."""
        return _label(self)

    def reading(self, start: int, length: int) -> Slice:
        """The slice in which this block reads ``length`` values from ``start``."""
        return Slice(*self, start, length)

    def cut(self, tensor_shape: tuple[int, ...], at: int, numel: int) -> Block:
        """``numel`` working weights from position ``at`` of this block."""
        shape = block_shape(tensor_shape, numel)
        return Block(self.tensor, shape, self.first + at, numel, self.part)


class Slice(NamedTuple):
    """A block that reads ``length`` backing weights of a pool from ``start``,
    circularly.

    Attributes:
        tensor, shape, first, numel, part: The block's; see :class:`Block`.
        start: First backing weight read, ``0 <= start < backing``.
        length: Backing weights read; it may exceed the pool, which is then read more
            than once round.
    """

    tensor: str
    shape: tuple[int, ...]
    first: int
    numel: int
    part: str
    start: int
    length: int

    @property
    def label(self) -> str:
        """``tensor`` or ``tensor#part``, as the spec names it."""
        return _label(self)

    @property
    def end(self) -> int:
        """``start + length``, not reduced: beyond the pool where the slice wraps."""
        return self.start + self.length


def _label(block: Block | Slice) -> str:
    return f"{block.tensor}#{block.part}" if block.part else block.tensor


def block_shape(tensor_shape: tuple[int, ...], numel: int) -> tuple[int, ...]:
    """The shape of ``numel`` consecutive working weights of a tensor: whole rows keep
    the trailing dimensions, anything else is flat."""
    if numel == math.prod(tensor_shape):
        return tensor_shape
    row = math.prod(tensor_shape[1:])
    if row and numel % row == 0:
        return (numel // row, *tensor_shape[1:])
    return (numel,)


@dataclass(frozen=True, slots=True)
class Run:
    """``length`` consecutive backing weights from ``start``, each read ``count``
    times."""

    start: int
    length: int
    count: int


@dataclass(frozen=True)
class SliceTable:
    """All slices of one pool of ``backing`` backing weights, in checkpoint order."""

    backing: int
    slices: tuple[Slice, ...]

    @cached_property
    def working(self) -> int:
        """N_w: working weights that the pool makes."""
        return sum(s.numel for s in self.slices)

    @cached_property
    def extent(self) -> int:
        """How far a circular read runs when it is laid out straight: the largest
        ``start + length``, at least ``backing``."""
        return max([self.backing, *(s.end for s in self.slices)])

    @property
    def wraps(self) -> bool:
        """Whether any slice passes the end of the pool."""
        return self.extent > self.backing

    def made_before(self, piece: Slice) -> int:
        """Working weights of the pool that come before a slice of it."""
        return self._made_before[piece.tensor, piece.first]

    @cached_property
    def _made_before(self) -> dict[tuple[str, int], int]:
        sizes = [0, *(s.numel for s in self.slices)]
        keys = [(s.tensor, s.first) for s in self.slices]
        return dict(zip(keys, accumulate(sizes), strict=False))

    def pieces(self, piece: Slice) -> Iterator[tuple[int, int, int]]:
        """Cut a slice at the pool's end.

        Yields:
            ``(start, at, length)``: ``length`` straight backing weights from
            ``start`` are the slice's entries from ``at``.
        """
        at, start = 0, piece.start
        while at < piece.length:
            length = min(piece.length - at, self.backing - start)
            yield start, at, length
            at, start = at + length, 0

    def reuse(self) -> tuple[Run, ...]:
        """How often each backing weight is read, as maximal runs of equal count that
        tile the pool.  Whole laps of a long slice cost nothing, so this is
        ``O(slices · log slices)`` whatever the pool's size."""
        steps: dict[int, int] = {0: 0, self.backing: 0}
        for piece in self.slices:
            laps, rest = divmod(piece.length, self.backing)
            steps[0] += laps
            straight = min(rest, self.backing - piece.start)
            for begin, length in ((piece.start, straight), (0, rest - straight)):
                if length:
                    steps[begin] = steps.get(begin, 0) + 1
                    steps[begin + length] = steps.get(begin + length, 0) - 1
        runs: list[Run] = []
        count, edges = 0, sorted(steps)
        for begin, end in pairwise(edges):
            count += steps[begin]
            if runs and runs[-1].count == count:
                runs[-1] = Run(runs[-1].start, end - runs[-1].start, count)
            else:
                runs.append(Run(begin, end - begin, count))
        return tuple(runs)
