"""What a ``.wpool`` stores and where: pools, pads, kept tensors, groups of them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from .chain import Chain
from .errors import PlanError
from .header import Entry
from .names import name_problem
from .plan import RESERVED, RESERVED_PREFIXES, Plan
from .tensors import BY_CODE, DType

POOL_PREFIX = "pool/"
GROUP_PREFIX = "kept/"
#: Kept tensors start on a multiple of this; widest first, each lies on its elements.
KEPT_ALIGNMENT = 8
#: Codecs make bytes, whatever they are made from.
BYTES = BY_CODE["U8"]

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


class Coded(NamedTuple):
    """A pool or group of kept tensors that codecs store.

    Attributes:
        chain: The codecs.
        dtype: Of its values, decoded.
        numel: How many there are.
    """

    chain: Chain
    dtype: DType
    numel: int

    @property
    def nbytes(self) -> int:
        """Bytes of its values, decoded."""
        return self.numel * self.dtype.itemsize

    @property
    def most_stored_bytes(self) -> int:
        """Bytes that the file holds of it: at most, and exactly where its chain has no
        entropy coder."""
        return self.chain.bound(self.numel, self.dtype)


def group_name(index: int) -> str:
    """The name that a group of kept tensors is stored under."""
    return f"{GROUP_PREFIX}{index}"


def coded(plan: Plan) -> dict[str, Coded]:
    """Every coded pool and group by the name it is stored under, in the order of their
    places."""
    pools = {
        POOL_PREFIX + pool.name: Coded(pool.chain, pool.dtype, pool.backing)
        for pool in plan.pools
        if pool.chain
    }
    groups = {
        group_name(index): Coded(group.chain, group.dtype, group.numel)
        for index, group in enumerate(plan.groups)
    }
    return pools | groups


def arrange(plan: Plan, sizes: Mapping[str, int] | None = None) -> Arrangement:
    """Place pools, pads, kept tensors and groups; what is coded last of its kind.

    Args:
        sizes: Stored name → bytes, for all that is coded; the most that each can take
            unless given.

    Raises:
        PlanError: A tensor's or pool's name cannot stand in a file.
    """
    _check_names(plan)
    if sizes is None:
        sizes = {name: each.most_stored_bytes for name, each in coded(plan).items()}
    entries: list[Entry] = []
    for pool in plan.pools:
        if not pool.chain:
            _pad(entries, plan.alignment)
            _place(entries, POOL_PREFIX + pool.name, pool.dtype, (pool.backing,))
    for pool in plan.pools:
        if pool.chain:
            name = POOL_PREFIX + pool.name
            _place(entries, name, BYTES, (sizes[name],))
    kept = [tensor.info for tensor in plan.kept if tensor.group is None]
    if kept:
        _pad(entries, KEPT_ALIGNMENT)
    for info in sorted(kept, key=lambda info: -info.dtype.itemsize):
        _place(entries, info.name, info.dtype, info.shape)
    for index in range(len(plan.groups)):
        name = group_name(index)
        _place(entries, name, BYTES, (sizes[name],))
    return Arrangement(plan.alignment, tuple(entries))


def largest(plan: Plan) -> Arrangement:
    """An arrangement and a header no smaller than any that the plan's values can lead
    to, and the very one where every stored size is known."""
    sizes = {name: each.most_stored_bytes for name, each in coded(plan).items()}
    found = arrange(plan, sizes)
    pools = [e for e in found.entries if e.name.startswith(POOL_PREFIX)]
    if plan.exact or not pools or pools[-1].end_byte % KEPT_ALIGNMENT:
        return found
    # What takes fewer bytes may need a pad behind it, and that takes a name.
    last = pools[-1].name
    return arrange(plan, {**sizes, last: sizes[last] + 1}) if last in sizes else found


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
                f"the name {name!r} cannot be used: {RESERVED} are the"
                " file format's own",
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
        _place(entries, f"{_PAD}{number}", BYTES, (gap,))
