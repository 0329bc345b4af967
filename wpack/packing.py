"""What ``compress`` puts into a file: projected pools and the source's own tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrangement import POOL_PREFIX, arrange, coded, group_name
from .chain import Chain, Encoded
from .errors import CheckpointError, UsageError
from .names import shown
from .plan import Plan
from .pool import Backing
from .pool import stored as pool_blocks
from .stats import FileStats
from .tensors import DType, blocks, to_float

if TYPE_CHECKING:
    from . import checkpoint
    from .spec import Spec


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
    """

    stats: FileStats
    source: FileStats
    notes: tuple[str, ...]


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


def encode(
    plan: Plan,
    backing: Backing,
    source: checkpoint.Checkpoint,
    on_bytes: Callable[[int, str], object] = lambda nbytes, what: None,
) -> dict[str, Encoded]:
    """What codecs make of pools and groups, by the names it is stored under.

    A pool's values are dropped from ``backing`` as soon as they are encoded.

    Args:
        on_bytes: Called with the bytes of values just encoded, for progress.

    Raises:
        CheckpointError: A weight is NaN or infinite, ``where`` is its tensor; or a
            codec cannot store a magnitude, ``where`` is the pool or group.
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
    for index, group in enumerate(plan.groups):
        parts = []
        for info in group.infos:
            raw = source.read(info.name, 0, info.numel)
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


def stored(
    plan: Plan, backing: Backing, source: checkpoint.Checkpoint
) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """What the file holds uncoded, in its order: pools, then kept tensors."""
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
            yield name, (source.read(name, b, e - b) for b, e in ranges)
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
