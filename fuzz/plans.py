"""What is true of every plan, wherever it comes from."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from fuzz.target import insist
from wpack.names import name_problem
from wpack.plan import Plan, PoolPlan, TensorPlan
from wpack.plan_reader import read_plan
from wpack.pool import working_blocks
from wpack.table import Slice, SliceTable
from wpack.tensors import DType

#: Work that is worth doing on one input: laps round a pool, bytes of weights.
_LAPS, _NBYTES = 1000, 1 << 18


def check_plan(plan: Plan) -> None:
    """It comes back from its JSON as it went, and its slices lie in their pools."""
    text = plan.to_json()
    again = read_plan(text)
    insist(again == plan, "reads back as another plan")
    insist(again.to_json() == text, "is written in another way when it was read")
    for pool in plan.pools:
        _check_table(pool.table)
    slices = [set(pool.table.slices) for pool in plan.pools]
    for tensor in plan.tensors:
        insist(all(s in slices[i] for i, s in tensor.pieces), "is in no table")
        _check_tensor(plan, tensor)


def check_weights(plan: Plan) -> None:
    """Its working weights can be made: as many as it says, of the dtype it says."""
    for tensor in plan.pooled:
        for index, piece in tensor.pieces:
            pool = plan.pools[index]
            nbytes = pool.nbytes + 8 * (piece.numel + piece.length)
            if nbytes <= _NBYTES and _expandable(pool, piece):
                _check_piece(pool, piece, tensor.info.dtype)


def _expandable(pool: PoolPlan, piece: Slice) -> bool:
    return pool.technique.zero_copy or not pool.technique.objection(pool.table, piece)


def _check_piece(pool: PoolPlan, piece: Slice, dtype: DType) -> None:
    raw = np.zeros(pool.backing, pool.dtype.raw)
    made = list(working_blocks(pool, piece, raw, dtype))
    insist(sum(block.size for block in made) == piece.numel, "makes too few weights")
    insist({b.dtype for b in made} == {np.dtype(dtype.raw)}, "makes another dtype")


def _check_table(table: SliceTable) -> None:
    for piece in table.slices:
        insist(0 <= piece.start < table.backing, "starts outside of its pool")
        insist(piece.length > 0 < piece.numel, "reads or makes nothing")
        insist(table.extent >= piece.end, "the pool ends before its slice")
        if piece.length <= _LAPS * table.backing:
            _check_laps(table, piece)
    runs = table.reuse()
    reads = sum(run.length * run.count for run in runs)
    insist(reads == sum(s.length for s in table.slices), "counts other reads")
    edges = [0, *(run.start + run.length for run in runs)]
    insist(edges[:-1] == [run.start for run in runs], "counts what is no tiling")
    insist(edges[-1] == table.backing, "counts less than the pool")
    insist(all(a.count != b.count for a, b in pairwise(runs)), "counts in fragments")


def _check_laps(table: SliceTable, piece: Slice) -> None:
    reached = 0
    for start, at, length in table.pieces(piece):
        insist(0 <= start < start + length <= table.backing, "leaves its pool")
        insist(at == reached, "leaves a gap in the slice")
        reached += length
    insist(reached == piece.length, "reads less than the slice")


def _check_tensor(plan: Plan, tensor: TensorPlan) -> None:
    info, at = tensor.info, 0
    for _, piece in tensor.pieces:
        insist((piece.tensor, piece.first) == (info.name, at), "its pieces overlap")
        insist(prod(piece.shape) == piece.numel, "has a piece of another shape")
        at += piece.numel
    insist(at in (0, info.numel), "its pieces do not tile it")
    insist((tensor.kind == "pooled") == bool(tensor.pieces), "is of no kind")
    if tensor.kind == "alias":
        target = plan.by_name[plan.aliases[info.name]].info
        insist(target.alias_of is None, "is an alias of an alias")
        insist(target[1:3] == info[1:3], "is an alias of another shape or dtype")


def nameable(plan: Plan) -> bool:
    """Whether its names can stand in a file; no weights are made under others."""
    names = [pool.name for pool in plan.pools] + [t.name for t in plan.tensors]
    names += [s.part for pool in plan.pools for s in pool.table.slices if s.part]
    return not any(name_problem(name) for name in names)
