"""``compress`` from file to file."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from . import checkpoint, container
from .limits import Limits
from .packing import (
    OnBytes,
    Packed,
    encode_groups,
    encode_pools,
    non_finite,
    overlaid,
    refuse_fisher,
    stored,
    unwritten,
    work,
)
from .plan import Plan
from .planner import make_plan
from .pool import Backing, project
from .residence import residence
from .spec import Spec
from .stages import Coding
from .stats import of_checkpoint, of_plan
from .weight_file import PlainWeights

StrPath = str | os.PathLike[str]


def compress(
    path: StrPath,
    spec: Spec,
    output: StrPath,
    *,
    force: bool,
    key: str | None,
    fail_on_nan: bool,
    calibrate: str | None,
    calibrate_batches: int,
    device: str,
    progress: Callable[[int, int, str], object] | None,
    limits: Limits,
) -> Packed:
    """As :func:`wpack.api.compress`, which checks that the output may be written."""
    with checkpoint.open(path, key, max_header=limits.max_header) as source:
        planned = make_plan(spec, source.infos)
        plan = planned.plan
        refuse_fisher(spec, plan)
        passes = 0 if calibrate is None else 2 * calibrate_batches
        count = _counting(work(plan) + passes * plan.inflated_bytes, progress)
        backing = _projected(spec, plan, source, count)
        notes = [*source.notes, *planned.notes, *non_finite(backing, fail_on_nan)]
        coded = encode_pools(plan, backing, count)
        values: dict[str, np.ndarray] = {}
        if calibrate is not None:
            # Forward passes need torch, which takes seconds to import.
            from .calibrated import kept_values

            values, more = kept_values(
                spec,
                plan,
                PlainWeights(source),
                unwritten(plan, backing, coded, source.read),
                task=calibrate,
                batches=calibrate_batches,
                device=device,
                on_bytes=count,
            )
            notes += more
        read = overlaid(source.read, values)
        coded |= encode_groups(plan, read, count)
        kept = stored(plan, backing, source, read)
        about = plan, spec.text, source.source()
        container.write(output, *about, kept, coded=coded, force=force)
        # Not read back: the output may be /dev/null.
        packed = of_plan(
            plan,
            os.fspath(output),
            container.predicted_bytes(*about, coded),
            residence(plan),
            {name: Coding.of(each) for name, each in coded.items()},
        )
        plain = of_checkpoint(str(path), source.format, source.file_bytes, source.infos)
    return Packed(packed, plain, tuple(notes), tuple(values))


def _projected(
    spec: Spec, plan: Plan, source: checkpoint.Checkpoint, count: OnBytes
) -> Backing:
    repair = {name: pool.repair or "none" for name, pool in spec.pools.items()}
    return project(
        plan,
        source.read,
        repair,
        lambda tensor: count(tensor.info.nbytes, "projecting"),
    )


def _counting(
    total: int, progress: Callable[[int, int, str], object] | None
) -> OnBytes:
    """Tells ``progress`` how many bytes of the total are done."""
    done = 0

    def count(nbytes: int, what: str) -> None:
        nonlocal done
        done += nbytes
        if progress is not None:
            progress(done, total, what)

    return count
