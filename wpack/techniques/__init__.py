"""Techniques: how ranges of a pool become working weights.

One technique a file; this folder's listing is the registry.  A file defines one frozen
dataclass derived from :class:`Technique`; its fields, all with defaults, are the pool's
own YAML keys, and
its file name is the technique's name in a spec and in a ``.wpool``.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from ..options import Options, defined, listing
from ..table import Block, Slice, SliceTable


class Stretch(NamedTuple):
    """Working weights ``first … first + numel - 1`` of a slice of a table."""

    table: SliceTable
    piece: Slice
    first: int
    numel: int


class Projection(Protocol):
    """Finds backing weights for trained working weights, one stretch at a time."""

    def add(self, piece: Slice, at: int, working: np.ndarray) -> None:
        """Take working weights ``at … at + len(working) - 1`` of ``piece``.

        Every slice's weights come once, in order, in stretches of any length.

        Args:
            working: 1-D, of the dtype the projection was made with.
        """

    def finish(self) -> np.ndarray:
        """The backing weights, ``(backing,)``; called once, after the last ``add``."""


@dataclasses.dataclass(frozen=True)
class Technique(Options, ABC):
    """The mathematics of a pool: pure functions of integers and arrays.

    ``xp`` is the array library in use, numpy or torch, so that one body serves
    packing, inflating and autograd.
    """

    #: expand is the identity on a circular range, so a working weight can be a view.
    zero_copy: ClassVar[bool]

    @property
    def degree(self) -> int:
        """How many backing weights are multiplied into a working weight: scaling the
        pool by s scales what it makes by s to this power."""
        return 1

    @abstractmethod
    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        """Decide which range of the pool each block reads.

        Args:
            blocks: What the pool makes, in checkpoint order.
            backing: The budget in backing weights, at least 1.

        Returns:
            One slice or more a block, in the same order.  Its ``backing`` is at most
            the budget (one more per tensor where a range is rounded up).

        Raises:
            PlanError: The budget cannot be met; the message gives the rule.
        """

    def expand(
        self,
        xp: Any,
        table: SliceTable,
        piece: Slice,
        backing: Any,
        first: int = 0,
        numel: int | None = None,
    ) -> Any:
        """Working weights ``first … first + numel - 1`` of a slice, 1-D.

        Differentiable in ``backing`` when ``xp`` is torch.

        Args:
            table: The pool's slices; ``piece`` is one of them.
            backing: ``(piece.length,)``, the slice's range of the pool, straightened.
            numel: Defaults to all that follow ``first``.
        """
        numel = piece.numel - first if numel is None else numel
        return self._expand(xp, Stretch(table, piece, first, numel), backing)

    @abstractmethod
    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        """The mathematics of :meth:`expand`."""

    def objection(self, table: SliceTable, piece: Slice) -> str:
        """Why a slice of a file cannot be expanded; "" where it can.  Slices that
        :meth:`layout` made can."""
        return ""

    @abstractmethod
    def project(self, table: SliceTable, dtype: np.dtype) -> Projection:
        """The least-squares projection of trained working weights onto the pool.

        It lowers Σ ``importance(slice)`` · (working - made)², at least locally.  Where
        ``ridge`` is not 0 and the fit is not exact, ``ridge · s · Σ backing²`` may
        stand beside it, s = (mean of importance · working²) ** (1 - 1 / degree) over
        the slices that share a range.
        """

    @property
    def takes_mean(self) -> bool:
        """Whether the projection is the mean of all working weights that read a backing
        weight: then a weighted mean is the projection for weighted errors."""
        return False

    def importance(self, piece: Slice) -> float:
        """The weight of a slice's errors in the projection."""
        return 1.0

    @property
    def ridge(self) -> float:
        """Weight of Σ backing² in the projection: products can be best at infinity, and
        training cannot start there."""
        return 0.0

    def deviations(self, table: SliceTable, working: Sequence[float]) -> np.ndarray:
        """The standard deviations that backing weights start with where there is no
        trained network to project, ``(backing,)`` float64.

        The mean variance of the slices that read a backing weight, and of m factors of
        a product the m-th root each: m is :attr:`degree`.

        Args:
            working: Slice by slice, the standard deviation its working weights should
                start with.
        """
        variances, reads = np.zeros(table.backing), np.zeros(table.backing)
        for piece, deviation in zip(table.slices, working, strict=True):
            for start, _, length in table.pieces(piece):
                variances[start : start + length] += deviation**2
                reads[start : start + length] += 1
        found: np.ndarray = (variances / np.maximum(reads, 1)) ** (0.5 / self.degree)
        return found

    def multiplications(self, table: SliceTable) -> int:
        """How many multiplications make all working weights of a pool, as the paper's
        Table I counts them: for each one less than it has factors."""
        return (self.degree - 1) * table.working

    def random_accesses(self, table: SliceTable) -> int:
        """How many reads leave the order of storage while all working weights of a
        pool are made (Table I); reading in stretches is none."""
        return 0


def names() -> list[str]:
    """All techniques there are: the files of this folder."""
    return listing(__name__)


@cache
def named(name: str) -> type[Technique]:
    """The technique class that ``wpack/techniques/<name>.py`` defines.

    Raises:
        SpecError: There is no such file; the message lists those there are.
    """
    return defined(__name__, name, "technique")
