"""What a ``.wpool`` stores and where: pools, pads, kept tensors, in this order."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from .errors import PlanError
from .header import Entry
from .names import name_problem
from .plan import RESERVED_PREFIXES, Plan
from .tensors import BY_CODE, DType

POOL_PREFIX = "pool/"
#: Kept tensors start on a multiple of this; widest first, each lies on its elements.
KEPT_ALIGNMENT = 8

_PAD = "__pad__."
_PAD_NUMBER = re.compile(r"0|[1-9][0-9]*")


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The stored tensors of a file: a pure function of its plan.

    Attributes:
        alignment: The data section and every pool start on a multiple of this.
        entries: Pools, pads and kept tensors, in the order of their places.
    """

    alignment: int
    entries: tuple[Entry, ...]

    @property
    def stored(self) -> tuple[Entry, ...]:
        """The entries that are no padding."""
        return tuple(entry for entry in self.entries if not is_pad(entry))

    @property
    def nbytes(self) -> int:
        """Bytes of the data section."""
        return self.entries[-1].end_byte if self.entries else 0


def arrange(plan: Plan) -> Arrangement:
    """Place pools, pads and kept tensors.

    Raises:
        PlanError: A tensor's or pool's name cannot stand in a file.
    """
    _check_names(plan)
    entries: list[Entry] = []
    for pool in plan.pools:
        _pad(entries, plan.alignment)
        _place(entries, POOL_PREFIX + pool.name, pool.dtype, (pool.backing,))
    kept = sorted(plan.kept, key=lambda tensor: -tensor.info.dtype.itemsize)
    if kept:
        _pad(entries, KEPT_ALIGNMENT)
    for tensor in kept:
        _place(entries, tensor.name, tensor.info.dtype, tensor.info.shape)
    return Arrangement(plan.alignment, tuple(entries))


def is_pad(entry: Entry) -> bool:
    """Whether a stored tensor only fills the space up to the next one."""
    number = entry.name.removeprefix(_PAD)
    return number != entry.name and _PAD_NUMBER.fullmatch(number) is not None


def _check_names(plan: Plan) -> None:
    for name in [*(p.name for p in plan.pools), *(t.name for t in plan.tensors)]:
        if problem := name_problem(name):
            raise PlanError(problem)
        if name.startswith(RESERVED_PREFIXES):
            raise PlanError(
                f"the name {name!r} cannot be used: names starting"
                f" {' or '.join(RESERVED_PREFIXES)} are the file format's own",
                hint="Rename it in the checkpoint",
            )


def _place(
    entries: list[Entry], name: str, dtype: DType, shape: tuple[int, ...]
) -> None:
    begin = entries[-1].end_byte if entries else 0
    end = begin + math.prod(shape) * dtype.itemsize
    entries.append(Entry(name, dtype, shape, begin, end))


def _pad(entries: list[Entry], alignment: int) -> None:
    gap = -entries[-1].end_byte % alignment if entries else 0
    if gap:
        number = sum(map(is_pad, entries))
        _place(entries, f"{_PAD}{number}", BY_CODE["U8"], (gap,))
