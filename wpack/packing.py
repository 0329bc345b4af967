"""What ``compress`` puts into a file: projected pools and the source's own tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .arrangement import POOL_PREFIX, arrange
from .errors import CheckpointError
from .plan import Plan
from .pool import Backing
from .pool import stored as pool_blocks
from .stats import FileStats
from .tensors import blocks

if TYPE_CHECKING:
    from . import checkpoint


@dataclass(frozen=True)
class Planned:
    """A plan for a checkpoint.

    Attributes:
        stats: What the file will cost; ``file_bytes`` is exact.
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
