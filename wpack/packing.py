"""What ``compress`` puts into a file: projected pools and the source's own tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrangement import POOL_PREFIX, arrange, coded, group_name
from .chain import Chain, Encoded
from .errors import CheckpointError, UsageError
from .names import shown
from .plan import Plan
from .pool import Backing, Read
from .pool import stored as pool_blocks
from .stats import FileStats
from .tensors import DType, blocks, from_float, to_float
from .weight_file import WorkingWeights

if TYPE_CHECKING:
    from . import checkpoint
    from .spec import Spec


#: Called with the bytes of values just done and what was done to them.
OnBytes = Callable[[int, str], object]


def _uncounted(nbytes: int, what: str) -> None:
    """Progress that nobody follows."""


@dataclass(frozen=True)
class Planned:
    """A plan for a checkpoint.

    Attributes:
        stats: What the file will cost; ``file_bytes`` is exact where the plan is, and
            the most that it can be where an entropy coder will decide.
        notes: What a user should know.
    """

    plan: Plan
    stats: FileStats
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Packed:
    """A file that has been written.

    Attributes:
        stats: What it costs.
        source: What the checkpoint costs.
        notes: What a user should know.
        calibrated: Kept tensors that are no longer the checkpoint's.
    """

    stats: FileStats
    source: FileStats
    notes: tuple[str, ...]
    calibrated: tuple[str, ...] = ()


def asks_fisher(spec: Spec, plan: Plan) -> bool:
    """Whether a pool's projection or a selector goes by Fisher information."""
    selectors = (each.chain.selector for each in coded(plan).values())
    return any(pool.projection == "fisher" for pool in spec.pools.values()) or any(
        selector.needs_importance for selector in selectors if selector
    )


def refuse_fisher(spec: Spec, plan: Plan) -> None:
    """Refuse what only a task can tell.

    Raises:
        UsageError: The spec :func:`asks_fisher`.
    """
    if asks_fisher(spec, plan):
        raise UsageError(
            "the spec asks for Fisher information, which is measured on a task",
            hint="Use wpack finetune, or leave out by: fisher and projection: fisher",
        )


def work(plan: Plan) -> int:
    """Bytes of weights that are projected, and of values that are encoded."""
    projected = sum(tensor.info.nbytes for tensor in plan.pooled)
    return projected + sum(each.nbytes for each in coded(plan).values())


def encode_pools(
    plan: Plan, backing: Backing, on_bytes: OnBytes = _uncounted
) -> dict[str, Encoded]:
    """What codecs make of pools, by the names it is stored under.

    A pool's values are dropped from ``backing`` as soon as they are encoded.

    Args:
        on_bytes: Called with the bytes of values just encoded, for progress.

    Raises:
        CheckpointError: A weight is NaN or infinite, ``where`` is its tensor; or a
            codec cannot store a magnitude, ``where`` is the pool.
    """
    made = {}
    for pool in plan.pools:
        if pool.chain:
            for piece in pool.table.slices:
                count = backing.non_finite.get(piece.tensor, 0)
                _refuse_non_finite(piece.tensor, count)
            values = backing.values.pop(pool.name)
            where = f"pool {pool.name!r}"
            made[POOL_PREFIX + pool.name] = _encoded(
                pool.chain, values, pool.dtype, where
            )
            on_bytes(pool.nbytes, "encoding")
    return made


def encode_groups(
    plan: Plan, read: Read, on_bytes: OnBytes = _uncounted
) -> dict[str, Encoded]:
    """What codecs make of groups of kept tensors, as :func:`encode_pools`."""
    made = {}
    for index, group in enumerate(plan.groups):
        parts = []
        for info in group.infos:
            raw = read(info.name, 0, info.numel)
            parts.append(to_float(raw, group.dtype))
            bad = info.numel - int(np.count_nonzero(np.isfinite(parts[-1])))
            _refuse_non_finite(info.name, bad)
        made[group_name(index)] = _encoded(
            group.chain,
            np.concatenate(parts),
            group.dtype,
            f"the tensors with {shown(group.infos[0].name)}",
        )
        on_bytes(group.nbytes, "encoding")
    return made


def _encoded(chain: Chain, values: np.ndarray, dtype: DType, where: str) -> Encoded:
    try:
        return chain.encode(values, dtype)
    except ValueError as error:
        raise CheckpointError(str(error), where=where) from None


def _refuse_non_finite(name: str, count: int) -> None:
    """One such weight would spread to all that a codec scales together."""
    if count:
        what = f"{count} weights are NaN or infinite, which no codec stores"
        raise CheckpointError(what, where=name)


def unwritten(
    plan: Plan, backing: Backing, pools: Mapping[str, Encoded], read: Read
) -> WorkingWeights:
    """The working weights of a file that has yet to be written.

    Args:
        backing: Of pools without codecs.
        pools: What :func:`encode_pools` made.
        read: Reads kept tensors.
    """
    made, found = {**pools, **encode_groups(plan, read)}, coded(plan)
    dtypes = {POOL_PREFIX + pool.name: pool.dtype for pool in plan.pools}

    def fill(name: str, out: np.ndarray) -> None:
        if name not in made:
            values = backing.values[name.removeprefix(POOL_PREFIX)]
            out[:] = from_float(values, dtypes[name])
            return
        data = made[name].data
        found[name].chain.decode(
            lambda begin, end: data[begin:end], len(data), found[name].dtype, out, name
        )

    return WorkingWeights(plan, fill, read)


def overlaid(read: Read, values: Mapping[str, np.ndarray]) -> Read:
    """A reader of a checkpoint that has other values for some tensors, raw."""

    def read_either(name: str, first: int, numel: int) -> np.ndarray:
        if name in values:
            return values[name][first : first + numel]
        return read(name, first, numel)

    return read_either


def stored(
    plan: Plan, backing: Backing, source: checkpoint.Checkpoint, read: Read
) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """What the file holds uncoded, in its order: pools, then kept tensors.

    Args:
        read: Reads kept tensors.
    """
    pools = {POOL_PREFIX + pool.name: pool for pool in plan.pools}
    skipped = coded(plan)
    for entry in arrange(plan).stored:
        if entry.name in skipped:
            continue
        if entry.name in pools:
            pool = pools[entry.name]
            yield entry.name, pool_blocks(pool, backing.values[pool.name])
        else:
            ranges = blocks(entry.numel)
            name = entry.name
            yield name, (read(name, b, e - b) for b, e in ranges)
    # Before the file gets its name: it must not be made of two checkpoints.
    source.check_unchanged()


def non_finite(backing: Backing, fail: bool) -> list[str]:
    """What to tell of weights that are NaN or infinite.

    Raises:
        CheckpointError: There are some, and ``fail`` is set.
    """
    if not backing.non_finite:
        return []
    name, count = next(iter(backing.non_finite.items()))
    more = len(backing.non_finite) - 1
    what = f"{count} weights are NaN or infinite" + (
        f", and so in {more} more tensors" if more else ""
    )
    if fail:
        raise CheckpointError(what, where=name)
    return [f"{name}: {what}; they spread to every weight that shares with them"]
