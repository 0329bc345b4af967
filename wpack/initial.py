"""Pools that no trained network is projected onto: first values drawn at random.

Each backing weight comes from a normal distribution cut off at two standard deviations,
as wide as makes the working weights vary as the network's own initialiser had them.
"""

from __future__ import annotations

import numpy as np

from .errors import TrainingError
from .plan import Plan, PoolPlan, TensorPlan
from .pool import Backing, Read
from .table import Slice
from .tensors import blocks, sum_dtype, to_float

#: Where the normal distribution is cut off, in its standard deviations.
CUT = 2.0
#: Standard deviation of what the cut leaves of a standard normal distribution.
LEFT = 0.8796256610342398


def initialise(plan: Plan, read: Read, seed: int) -> Backing:
    """Draw first values for the pools of a plan.

    Args:
        read: Gives the weights of the network as its own initialiser made it; only
            their sizes (root mean squares) count, tensor by tensor and part by part.
        seed: Of the random numbers; a pool's depend on nothing else but its name.

    Raises:
        TrainingError: A tensor starts with NaN or infinite weights, or with zeros that
            no training would move.
    """
    sizes = {
        (index, piece): _size(read, tensor, piece)
        for tensor in plan.pooled
        for index, piece in tensor.pieces
    }
    values = {}
    for index, pool in enumerate(plan.pools):
        working = [sizes[index, piece] for piece in pool.table.slices]
        deviations = pool.technique.deviations(pool.table, working)
        _check(pool, working, deviations)
        random = np.random.default_rng([seed, *pool.name.encode()])
        drawn = truncated_normal(random, pool.backing) * deviations
        values[pool.name] = drawn.astype(sum_dtype(pool.dtype))
    return Backing(values)


def truncated_normal(random: np.random.Generator, numel: int) -> np.ndarray:
    """``(numel,)`` float64 of mean 0 and standard deviation 1, none further from 0 than
    :data:`CUT` / :data:`LEFT`."""
    drawn = random.standard_normal(numel)
    while (beyond := np.flatnonzero(np.abs(drawn) > CUT)).size:
        drawn[beyond] = random.standard_normal(beyond.size)
    return drawn / LEFT


def _size(read: Read, tensor: TensorPlan, piece: Slice) -> float:
    """Root mean square of the weights that a slice makes."""
    energy = 0.0
    for begin, end in blocks(piece.numel):
        raw = read(tensor.name, piece.first + begin, end - begin)
        weights = to_float(raw, tensor.info.dtype)
        energy += float(np.einsum("i,i->", weights, weights, dtype=np.float64))
    return float(np.sqrt(energy / max(piece.numel, 1)))


def _check(pool: PoolPlan, working: list[float], deviations: np.ndarray) -> None:
    products = pool.technique.degree > 1
    for piece, size in zip(pool.table.slices, working, strict=True):
        if not np.isfinite(size):
            raise TrainingError(
                "the task's model starts with weights that are NaN or infinite",
                where=piece.label,
                hint="Give it an initialiser that does not",
            )
        if size == 0.0 and products and not deviations[piece.start]:
            raise TrainingError(
                f"starts at 0, and products of zeros ({pool.technique.name}) have no"
                " gradient to leave it by",
                where=piece.label,
                hint="Keep the tensor, or pool it with global or layered",
            )
