"""Who shares with whom: the stretches of a pool that the same tensors read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from .names import folded, gathered

if TYPE_CHECKING:
    from ..plan import PoolPlan
    from ..stats import FileStats


@dataclass(frozen=True)
class Reader:
    """``label`` reads ``length`` backing weights from ``start``, circularly."""

    label: str
    start: int
    length: int


@dataclass(frozen=True)
class Stretch:
    """``length`` consecutive backing weights from ``start`` that the same tensors read.

    Attributes:
        readers: Label → how often it reads the stretch, in the pool's order.
    """

    start: int
    length: int
    readers: dict[str, int]

    @property
    def reads(self) -> int:
        """How many working weights each backing weight here makes."""
        return sum(self.readers.values())

    @property
    def read_by(self) -> str:
        """The readers in one line: ``a, b; c (2 times)``."""
        by_times: dict[int, list[str]] = {}
        for label, times in self.readers.items():
            by_times.setdefault(times, []).append(label)
        return "; ".join(
            folded(gathered(labels)) + (f" ({times} times)" if times > 1 else "")
            for times, labels in by_times.items()
        )


def of_pool(pool: PoolPlan) -> list[Reader]:
    """The readers of a planned pool, parts under their own names."""
    return [Reader(s.label, s.start, s.length) for s in pool.table.slices]


def of_file(stats: FileStats, pool: str) -> list[Reader]:
    """The readers of a pool of a file."""
    return [
        Reader(tensor.name, part.start, part.length)
        for tensor in stats.tensors
        for part in tensor.parts
        if part.pool == pool
    ]


def spans(reader: Reader, backing: int) -> Iterator[tuple[int, int, int]]:
    """What a reader reads as ``(begin, end, times)`` without wrapping: whole laps
    first, then what is left of it."""
    laps, rest = divmod(reader.length, backing)
    if laps:
        yield 0, backing, laps
    straight = min(rest, backing - reader.start)
    if straight:
        yield reader.start, reader.start + straight, 1
    if rest - straight:
        yield 0, rest - straight, 1


def stretches(readers: Sequence[Reader], backing: int) -> Iterator[Stretch]:
    """The stretches of a pool from its start; they tile it.

    Each costs the number of its readers, so take only as many as are shown.
    """
    begins: dict[int, list[tuple[int, int]]] = {}
    ends: dict[int, list[tuple[int, int]]] = {}
    for index, reader in enumerate(readers):
        for begin, end, times in spans(reader, backing):
            begins.setdefault(begin, []).append((index, times))
            ends.setdefault(end, []).append((index, times))
    reading: dict[int, int] = {}
    for begin, end in pairwise(sorted({0, backing, *begins, *ends})):
        for index, times in ends.get(begin, ()):
            reading[index] -= times
            if not reading[index]:
                del reading[index]
        for index, times in begins.get(begin, ()):
            reading[index] = reading.get(index, 0) + times
        labels: dict[str, int] = {}
        for index in sorted(reading):
            label = readers[index].label
            labels[label] = labels.get(label, 0) + reading[index]
        yield Stretch(begin, end - begin, labels)


def number_of_stretches(readers: Sequence[Reader], backing: int) -> int:
    """How many stretches there are."""
    found = {0, backing}
    for reader in readers:
        for begin, end, _ in spans(reader, backing):
            found.update((begin, end))
    return len(found) - 1
