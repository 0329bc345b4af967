"""From trained weights to backing weights, and back, a block at a time.

:func:`project` fills pools from a checkpoint and holds the pools' sums plus one block;
:func:`working_blocks` gives the working weights of one slice and holds one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from .plan import Plan, PoolPlan, TensorPlan
from .table import Slice, SliceTable
from .tensors import BLOCK, DType, blocks, from_float, sum_dtype, to_float

#: What an error in any weight costs at least, beside the mean of its pool: one that
#: was never seen to matter still counts.
FLOOR = 1e-2
#: ``read(name, first, numel)`` gives raw elements of a checkpoint's tensor, 1-D.
Read = Callable[[str, int, int], np.ndarray]


@dataclass
class Backing:
    """Backing weights found for a plan.

    Attributes:
        values: Pool → ``(backing,)``, float32 (float64 for float64 pools).
        non_finite: Tensor → how many of its weights are NaN or infinite; only tensors
            that have any.
    """

    values: dict[str, np.ndarray]
    non_finite: dict[str, int] = field(default_factory=dict)


def project(
    plan: Plan,
    read: Read,
    repair: Mapping[str, str] | None = None,
    on_tensor: Callable[[TensorPlan], object] = lambda tensor: None,
    costs: Mapping[str, Mapping[str, np.ndarray]] | None = None,
) -> Backing:
    """Give every pool of a plan starting values from trained weights.

    Args:
        repair: Pool → ``"none"`` or ``"rms"``: scale the pool so that what it makes
            has the root mean square of the weights it replaced.  A mean of N_h
            unrelated weights is √N_h too small, which in networks with normalisation
            multiplies the learning rate.
        on_tensor: Called after each pooled tensor, for progress.
        costs: Pool, of a technique that takes a mean → tensor → ``(numel,)``, what an
            error in each weight costs, which the mean is weighted by.
    """
    costs = costs or {}
    projections = [
        WeightedMean(pool, costs[pool.name])
        if pool.name in costs
        else pool.technique.project(pool.table, sum_dtype(pool.dtype))
        for pool in plan.pools
    ]
    repaired = {name for name, how in (repair or {}).items() if how == "rms"}
    energy = dict.fromkeys(repaired, 0.0)
    backing = Backing({})
    for tensor in plan.pooled:
        bad = 0
        for index, piece in tensor.pieces:
            pool = plan.pools[index]
            wide = sum_dtype(pool.dtype)
            for begin, end in blocks(piece.numel):
                raw = read(tensor.name, piece.first + begin, end - begin)
                working = to_float(raw, tensor.info.dtype).astype(wide, copy=False)
                bad += _non_finite(working)
                if pool.name in repaired:
                    energy[pool.name] += _energy(working)
                projections[index].add(piece, begin, working)
        if bad:
            backing.non_finite[tensor.name] = bad
        on_tensor(tensor)
    for index, pool in enumerate(plan.pools):
        values = projections[index].finish()
        if pool.name in repaired:
            _rescale(pool, values, energy[pool.name])
        backing.values[pool.name] = values
    return backing


class WeightedMean:
    """Σ (F + floor) · w / Σ (F + floor) over the working weights that read a backing
    weight; a projection.

    Args:
        pool: Of a technique that takes a mean.
        costs: Tensor → ``(numel,)``, its F, not negative.
    """

    def __init__(self, pool: PoolPlan, costs: Mapping[str, np.ndarray]) -> None:
        # In float64, so that a weight that is read alone comes out as it went in.
        double = np.dtype("<f8")
        self.over = pool.technique.project(pool.table, double)
        self.under = pool.technique.project(pool.table, double)
        self.dtype, self.costs = sum_dtype(pool.dtype), costs
        slices = pool.table.slices
        total = sum(float(self._cost(piece, 0, piece.numel).sum()) for piece in slices)
        self.floor = FLOOR * total / max(pool.working, 1) or 1.0

    def add(self, piece: Slice, at: int, working: np.ndarray) -> None:
        """As :meth:`wpack.techniques.Projection.add`."""
        cost = self._cost(piece, at, len(working)) + self.floor
        self.over.add(piece, at, cost * working)
        self.under.add(piece, at, cost)

    def finish(self) -> np.ndarray:
        """The quotient; a backing weight that nothing reads is 0."""
        under = self.under.finish()
        under[under == 0] = 1.0
        mean: np.ndarray = (self.over.finish() / under).astype(self.dtype)
        return mean

    def _cost(self, piece: Slice, at: int, numel: int) -> np.ndarray:
        begin = piece.first + at
        found: np.ndarray = self.costs[piece.tensor][begin : begin + numel]
        return found.astype("<f8")


def stored(pool: PoolPlan, values: np.ndarray) -> Iterator[np.ndarray]:
    """A pool's backing weights as the file holds them: raw blocks in its dtype."""
    for begin, end in blocks(pool.backing):
        yield from_float(values[begin:end], pool.dtype)


def straight(pool: PoolPlan, piece: Slice, backing: np.ndarray) -> np.ndarray:
    """The ``(piece.length,)`` range that a slice reads: a view of the pool where it
    does not wrap, else joined from its stretches."""
    ranges = [
        backing[start : start + length] for start, _, length in pool.table.pieces(piece)
    ]
    return ranges[0] if len(ranges) == 1 else np.concatenate(ranges)


def working_blocks(
    pool: PoolPlan, piece: Slice, backing: np.ndarray, dtype: DType
) -> Iterator[np.ndarray]:
    """The working weights of one slice in row-major order, raw, in ``dtype``.

    Args:
        backing: The whole pool, ``(backing,)``, raw in the pool's dtype.
    """
    if pool.technique.zero_copy:
        # A pool of few weights is laid out several times, for laps to be long: from one
        # weight, a file of a kilobyte can ask for as many laps as there is memory.
        laps = min(piece.length, BLOCK) // pool.backing
        if laps > 1:
            backing = np.tile(backing, laps)
        table = SliceTable(len(backing), ())
        for start, _, length in table.pieces(piece):
            for begin, end in blocks(length):
                block = backing[start + begin : start + end]
                yield cast(block, pool.dtype, dtype)
        return
    values = to_float(straight(pool, piece, backing), pool.dtype)
    for made in _made(pool, piece, values):
        yield from_float(made, dtype)


def cast(raw: np.ndarray, dtype: DType, to: DType) -> np.ndarray:
    """Raw elements of one poolable dtype as raw elements of another; the same bits
    where they are the same dtype."""
    return raw if dtype == to else from_float(to_float(raw, dtype), to)


def _non_finite(values: np.ndarray) -> int:
    """How many are NaN or infinite.  A finite sum proves that none is, and costs a
    fourth of asking each."""
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return 0
    return values.size - int(np.isfinite(values).sum())


def _energy(values: np.ndarray) -> float:
    """Sum of squares, in float64, without a float64 copy of the array."""
    return float(np.einsum("i,i->", values, values, dtype=np.float64))


def _made(pool: PoolPlan, piece: Slice, values: np.ndarray) -> Iterator[np.ndarray]:
    """Working weights of a slice from its straightened range, in the range's dtype."""
    for begin, end in blocks(piece.numel):
        yield pool.technique.expand(np, pool.table, piece, values, begin, end - begin)


def _rescale(pool: PoolPlan, values: np.ndarray, wanted: float) -> None:
    reached = 0.0
    for piece in pool.table.slices:
        for made in _made(pool, piece, straight(pool, piece, values)):
            reached += _energy(made)
    if reached > 0.0 and np.isfinite(wanted):
        values *= (wanted / reached) ** (0.5 / pool.technique.degree)
