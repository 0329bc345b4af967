"""From a spec and a checkpoint's headers to a plan; no weight is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

from .chain import Chain
from .errors import PlanError
from .plan import Plan, PoolPlan, TensorPlan, alignment_of
from .spec import Claims, PoolSpec, Spec, claims
from .table import Block, Slice, SliceTable
from .tensors import DType, TensorInfo


@dataclass(frozen=True)
class Planned:
    """A plan, and what a user should know of how it came about."""

    plan: Plan
    notes: tuple[str, ...]


def make_plan(spec: Spec, infos: Sequence[TensorInfo]) -> Planned:
    """Decide who reads what from where.

    The same spec and headers give the same plan on every machine.

    Args:
        infos: The checkpoint's tensors, in its order.

    Raises:
        SpecError: A pattern of the spec does not fit the checkpoint.
        PlanError: A pool cannot be made as asked; ``where`` names it.
    """
    claimed = claims(spec, infos)
    budgets = {
        name: _budget(name, pool, claimed.pools[name], claimed.dtypes[name])
        for name, pool in spec.pools.items()
    }
    sizes = {
        name: budget * claimed.dtypes[name].itemsize for name, budget in budgets.items()
    }
    # Only what is stored as it is can be mapped.
    alignment = alignment_of(
        sum(sizes[name] for name, pool in spec.pools.items() if not pool.chain)
    )
    pools = tuple(
        PoolPlan(
            name,
            pool.make_technique(),
            claimed.dtypes[name],
            _table(
                name,
                pool,
                claimed,
                budgets[name],
                alignment_of(sizes[name]) if pool.chain else alignment,
            ),
            pool.chain,
        )
        for name, pool in spec.pools.items()
    )
    pieces: dict[str, list[tuple[int, Slice]]] = {}
    for index, planned in enumerate(pools):
        for piece in planned.table.slices:
            pieces.setdefault(piece.tensor, []).append((index, piece))
    tensors = tuple(
        TensorPlan(
            info,
            tuple(sorted(pieces.get(info.name, ()), key=_first)),
            claimed.groups.get(info.name),
        )
        for info in infos
    )
    chains = tuple(Chain(codecs) for codecs in spec.keep_codecs.values())
    return Planned(Plan(pools, tensors, alignment, chains), claimed.notes)


def _first(placed: tuple[int, Slice]) -> int:
    return placed[1].first


def _budget(name: str, pool: PoolSpec, blocks: Sequence[Block], dtype: DType) -> int:
    """Backing weights that the spec allows a pool."""
    working = sum(block.numel for block in blocks)
    if pool.ratio is not None:
        return max(1, int(working / pool.ratio))
    if pool.size is not None:
        size = pool.size
    else:
        size = (pool.bytes or 0) // dtype.itemsize
    if not 1 <= size <= working:
        raise PlanError(
            f"{size} backing weights are asked for {working} working weights",
            where=f"pool {name!r}",
            hint=f"Choose from 1 to {working}",
        )
    return size


def _table(
    name: str, pool: PoolSpec, claimed: Claims, budget: int, page_nbytes: int
) -> SliceTable:
    """The technique's layout, its pool rounded up to whole pages if a slice wraps: only
    then can the pool be mapped several times back to back, from the file or, if it is
    coded, from where it has been decoded to.

    Args:
        page_nbytes: Of the pages.
    """
    technique, blocks = pool.make_technique(), claimed.pools[name]
    itemsize = claimed.dtypes[name].itemsize
    try:
        table = technique.layout(blocks, budget)
        if table.wraps:
            page = lcm(page_nbytes, itemsize) // itemsize
            table = technique.layout(blocks, -(-budget // page) * page)
    except PlanError as error:
        raise PlanError(error.what, where=f"pool {name!r}", hint=error.hint) from None
    return table
