"""What ``compress`` puts into a file: projected pools and the source's own tensors."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from . import checkpoint
from .arrangement import POOL_PREFIX, arrange
from .errors import CheckpointError
from .plan import Plan
from .pool import Backing
from .pool import stored as pool_blocks
from .tensors import blocks


def stored(
    plan: Plan, backing: Backing, source: checkpoint.Checkpoint
) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """What the file holds, in its order: pools, then kept tensors."""
    pools = {POOL_PREFIX + pool.name: pool for pool in plan.pools}
    for entry in arrange(plan).stored:
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
