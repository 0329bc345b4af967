"""The verbs: what the command line and a library's user call; nothing here prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import container, durable, weight_file
from .diff import Difference, compare
from .limits import Limits
from .packing import Packed, Planned
from .residence import residence
from .source import Source
from .stats import FileStats, of_file, of_plan
from .tensors import TensorInfo

if TYPE_CHECKING:
    from .events import Event
    from .spec import Spec
    from .stopping import Stop

StrPath = str | os.PathLike[str]
#: ``progress(done_bytes, total_bytes, what)``
Progress = Callable[[int, int, str], object]

LIMITS = Limits()
#: Batches that calibration takes unless told otherwise.
BATCHES = 20

#: Suffixes that torch.save's files have.
TORCH_SUFFIXES = (".pt", ".pth", ".bin")


def infos(
    path: StrPath, *, key: str | None = None, limits: Limits = LIMITS
) -> list[TensorInfo]:
    """The tensors of a file of either kind, from its headers."""
    with weight_file.opened(path, key=key, limits=limits) as file:
        return list(file.infos)


def plan(
    checkpoint_path: StrPath,
    spec: Spec,
    *,
    key: str | None = None,
    limits: Limits = LIMITS,
) -> Planned:
    """What would be shared with what, and the size of the file; no weight is read.

    Raises:
        SpecError, PlanError: As :func:`wpack.planner.make_plan`.
        CheckpointError, FormatError, StorageError: The checkpoint cannot be read.
    """
    from . import checkpoint
    from .planner import make_plan

    with checkpoint.open(checkpoint_path, key, max_header=limits.max_header) as source:
        planned = make_plan(spec, source.infos)
        # A digest takes as much room whatever it is, so the size needs no reading.
        unread = Source("0" * 64, source.file_bytes, "")
        predicted = container.predicted_bytes(planned.plan, spec.text, unread)
        return Planned(
            planned.plan,
            of_plan(planned.plan, "", predicted, residence(planned.plan)),
            (*source.notes, *planned.notes),
        )


def compress(
    checkpoint_path: StrPath,
    spec: Spec,
    output: StrPath,
    *,
    force: bool = False,
    key: str | None = None,
    fail_on_nan: bool = False,
    calibrate: str | None = None,
    calibrate_batches: int = BATCHES,
    device: str = "auto",
    progress: Progress | None = None,
    limits: Limits = LIMITS,
) -> Packed:
    """Project a checkpoint onto its pools and write a ``.wpool``.

    Memory: the pools' sums (4 bytes a backing weight), one tensor, and what codecs
    make of those.  Calibration holds the network on top, and what a batch takes.

    Args:
        force: Replace an output that exists.
        fail_on_nan: Refuse weights that are NaN or infinite instead of noting them.
        calibrate: A task as for :func:`evaluate`, or ``"spec"`` for the spec's own:
            kept tensors are calibrated on its training data, without labels and
            gradients (:mod:`wpack.calibration`); None: they stay bit for bit.
        calibrate_batches: How many batches of them to take.
        device: Where to calibrate.

    Raises:
        UsageError: The output exists, or is the wrong kind of thing; or the task or the
            device does not fit.
        TrainingError: The task's network is not the checkpoint's, or fails.
    """
    # Readers and the planner take longer to import than `wpack stats` altogether.
    from . import compression

    durable.refuse_existing(output, force)
    return compression.compress(
        checkpoint_path,
        spec,
        output,
        force=force,
        key=key,
        fail_on_nan=fail_on_nan,
        calibrate=calibrate,
        calibrate_batches=calibrate_batches,
        device=device,
        progress=progress,
        limits=limits,
    )


def finetune(
    checkpoint_path: StrPath | None,
    spec: Spec,
    output: StrPath,
    *,
    force: bool = False,
    key: str | None = None,
    task: str | None = None,
    run: StrPath | None = None,
    resume: str | None = None,
    allow_mismatch: bool = False,
    device: str = "auto",
    stop: Stop | None = None,
    limits: Limits = LIMITS,
) -> Iterator[Event]:
    """Train a checkpoint with its weights tied, its original as the teacher, and write
    a ``.wpool``.

    Args:
        checkpoint_path: A checkpoint, which is projected and repaired first, or a
            ``.wpool`` to go on from.  None: from scratch, as the task's model starts
            under the recipe's seed; it teaches nothing, a teacher has to be named.
        task: Overrides the spec's: ``module:attribute``, ``./file.py:attribute`` or a
            built-in's name.
        run: Folder of the run; ``OUTPUT.run`` unless given.
        resume: ``"auto"`` to go on with a run that was stopped, or its folder.
        allow_mismatch: Go on although the run was started with other settings.
        stop: As :func:`wpack.finetune.finetune`.

    Yields:
        What happens; last a :class:`~wpack.events.Finished`, once the file stands.

    Raises:
        UsageError: The output exists, the task, the key or the run does not fit.
        TrainingError: The loss, the data or the model make going on impossible.
    """
    # Training needs torch, which takes seconds to import.
    from . import tuning

    durable.refuse_existing(output, force)
    yield from tuning.finetune(
        checkpoint_path,
        spec,
        output,
        force=force,
        key=key,
        task=task,
        run=run,
        resume=resume,
        allow_mismatch=allow_mismatch,
        device=device,
        stop=stop,
        limits=limits,
    )


def evaluate(
    path: StrPath,
    task: str,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    limits: Limits = LIMITS,
) -> dict[str, float]:
    """A task's metrics of a ``.wpool`` or a plain checkpoint, on its test split (on its
    validation split where there is no other)."""
    from . import tuning

    return tuning.evaluate(
        path, task, device=device, batch_size=batch_size, limits=limits
    )


def inflate(
    path: StrPath,
    output: StrPath,
    *,
    force: bool = False,
    progress: Progress | None = None,
    limits: Limits = LIMITS,
) -> None:
    """Write a plain checkpoint with the exact working weights, aliases re-tied.

    A ``.safetensors`` is streamed and holds each tensor on its own; a ``.pt`` holds
    views of one storage a pool, as :func:`torch.save` keeps them.
    """
    from . import checkpoint

    durable.refuse_existing(output, force)
    if Path(output).suffix in TORCH_SUFFIXES:
        weight_file.insist_pooled(path, limits)
        from .loader import load_file

        tensors = load_file(
            path,
            backend="copy",
            max_header=limits.max_header,
            max_working_bytes=limits.max_working_bytes,
        )
        checkpoint.write_torch(output, tensors, force=force)
        return
    with weight_file.opened(path, limits=limits) as file:
        total = sum(i.nbytes for i in file.infos if i.alias_of is None)

        def arrays() -> Iterator[tuple[str, Iterator[np.ndarray]]]:
            done = 0
            for info in file.infos:
                if info.alias_of is None:
                    yield info.name, file.blocks(info.name)
                    done += info.nbytes
                    if progress is not None:
                        progress(done, total, "inflating")

        checkpoint.write_safetensors(output, file.infos, arrays(), force=force)


def stats(
    path: StrPath,
    *,
    backend: str = "auto",
    load: bool = False,
    limits: Limits = LIMITS,
) -> FileStats:
    """What a file costs, tensor by tensor; no weight is read.

    Args:
        load: Load a ``.wpool``, too, and say what that took; this needs torch.
    """
    if load:
        from .loading import measured

        return measured(path, backend, limits)
    return of_file(path, backend, limits)


def verify(path: StrPath, *, limits: Limits = LIMITS) -> tuple[str, ...]:
    """Check every hash and every bound of a ``.wpool``.

    Returns:
        What is wrong, a sentence each; empty for a sound file.

    Raises:
        FormatError: The header is already broken.
    """
    with weight_file.container_of(path, limits) as file:
        return tuple(container.verify(file))


def diff(a: StrPath, b: StrPath, *, limits: Limits = LIMITS) -> Difference:
    """Compare the working weights of two files of any kind."""
    with (
        weight_file.opened(a, limits=limits) as left,
        weight_file.opened(b, limits=limits) as right,
    ):
        return compare(left, right)
