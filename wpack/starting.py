"""Where training starts: pools projected from a checkpoint, drawn at random, or read
from a ``.wpool``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .errors import UsageError
from .initial import initialise
from .plan import Plan
from .planner import make_plan
from .pool import project
from .source import Source
from .spec import Spec
from .tensors import to_float
from .weight_file import PlainWeights, PooledWeights


@dataclass(frozen=True)
class Start:
    """Where training starts.

    Attributes:
        backing: Pool → its first values, float32 or float64.
    """

    plan: Plan
    backing: dict[str, np.ndarray]
    source: Source
    notes: tuple[str, ...]


def starting_point(
    spec: Spec, file: PooledWeights | PlainWeights, seed: int | None = None
) -> Start:
    """Pools projected from a checkpoint and repaired, or read from a ``.wpool``.

    Args:
        seed: The checkpoint is not trained: pools are drawn at random from this seed.

    Raises:
        UsageError: The spec asks for other pools than the ``.wpool`` has.
    """
    planned = make_plan(spec, file.infos)
    if isinstance(file, PlainWeights):
        if seed is not None:
            backing = initialise(planned.plan, file.file.read, seed)
        else:
            repair = {name: pool.repair or "rms" for name, pool in spec.pools.items()}
            backing = project(planned.plan, file.file.read, repair)
        notes = (*file.file.notes, *planned.notes)
        return Start(planned.plan, backing.values, file.file.source(), notes)
    if planned.plan != file.plan:
        raise UsageError(
            "the spec asks for other pools than the file has",
            where=file.file.path,
            hint="Fine-tune the original checkpoint, or use the spec it was made from",
        )
    values = {
        pool.name: np.array(to_float(file.backing(index), pool.dtype))
        for index, pool in enumerate(file.plan.pools)
    }
    return Start(file.plan, values, file.file.source, planned.notes)


def weighted(
    spec: Spec,
    file: PooledWeights | PlainWeights,
    start: Start,
    importance: Mapping[str, np.ndarray],
) -> Start:
    """The start with those pools projected anew whose projection the spec weights by
    Fisher information."""
    weighted = [n for n, pool in spec.pools.items() if pool.projection == "fisher"]
    if not weighted or not isinstance(file, PlainWeights):
        return start
    costs = {name: importance for name in weighted}
    repair = {name: pool.repair or "rms" for name, pool in spec.pools.items()}
    backing = project(start.plan, file.file.read, repair, costs=costs)
    return replace(start, backing=backing.values)
