"""A task's metrics of a model, over a whole split, each example once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from . import sampling
from .data import Data, part
from .devices import Placement
from .errors import TrainingError, WpackError
from .processes import ALONE, Processes
from .stopping import Interrupted, Stop, never
from .tasks import Task, call_model

_CPU = torch.device("cpu")


def evaluate(
    model: nn.Module,
    task: Task,
    data: Data,
    *,
    batch_size: int,
    placement: Placement,
    processes: Processes = ALONE,
    stop: Stop = never,
) -> dict[str, float]:
    """Mean over all rows of each of the task's metrics, each example counted once, and
    what it derives from them.

    Args:
        model: On the placement's device; evaluated in ``eval`` mode, and left in the
            mode it was in.
        batch_size: Examples at a time, in all processes together; the last batch may
            be smaller.
        processes: Those that share every batch, and all get the metrics.
        stop: Asked before each batch; by several processes together.

    Returns:
        Metric → mean, summed in float64; then those that the task derives.

    Raises:
        TrainingError: The data are empty, or the task or the model failed (the failure
            is the ``__cause__``).
        Interrupted: ``stop`` said so.
    """
    if len(data) == 0:
        raise TrainingError("the data to evaluate on are empty")
    sums: dict[str, list[Tensor]] = {}
    counts: dict[str, int] = {}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), blaming("evaluation"):
            for begin in range(0, len(data), batch_size):
                if code := stop():
                    raise Interrupted("stopped during evaluation", exit_code=code)
                indices = torch.arange(begin, min(begin + batch_size, len(data)))
                rows = processes.rows(len(indices))
                if rows.start == rows.stop:
                    continue
                generator = sampling.generator(begin)
                with sampling.seeded(_CPU, begin):
                    batch = placement.move(part(data, indices, generator, rows))
                with placement.autocast():
                    outputs = call_model(model, task.inputs(batch))
                    values = task.metrics(outputs, batch)
                for name, value in values.items():
                    _check_rows(name, value, len(indices))
                    # Left on the device: reading them one by one would wait each time.
                    sums.setdefault(name, []).append(_sum(value))
                    counts[name] = counts.get(name, 0) + value.numel()
    finally:
        model.train(was_training)
    own = {
        name: (torch.stack(each).tolist(), counts[name]) for name, each in sums.items()
    }
    means = _means(processes.gather(own))
    with blaming("evaluation"):
        derived = task.derived(means)
        return {**means, **{name: float(value) for name, value in derived.items()}}


def _means(found: Sequence[Mapping[str, tuple[list[float], int]]]) -> dict[str, float]:
    """Metric → mean, from the sums and the numbers of rows of all processes."""
    means = {}
    for name in dict.fromkeys(name for own in found for name in own):
        parts = [own[name] for own in found if name in own]
        rows = sum(count for _, count in parts)
        total = sum(value for values, _ in parts for value in values)
        means[name] = total / rows if rows else 0.0
    return means


@contextmanager
def blaming(where: str) -> Iterator[None]:
    """Turn what a task, its data or its model raises into a :class:`TrainingError`."""
    try:
        yield
    except WpackError:
        raise
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            "the device is out of memory",
            where=where,
            hint="Set a smaller finetune.batch_size or, for evaluation,"
            " finetune.eval_batch_size",
        ) from error
    except Exception as error:
        raise TrainingError(
            f"{type(error).__name__}: {error}".rstrip(": "),
            where=where,
            hint="--debug shows the traceback",
        ) from error


def _check_rows(name: str, value: Tensor, examples: int) -> None:
    if value.ndim == 0:
        raise TrainingError(
            f"the task's metric {name!r} is one value for a batch of {examples}, not"
            " one for each row",
            where="metrics",
            hint="Return it before its mean is taken: batches may have other sizes",
        )


def _sum(values: Tensor) -> Tensor:
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    return values.sum(dtype=wide)
