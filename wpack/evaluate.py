"""A task's metrics of a model, over a whole split, each example once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .data import Data
from .devices import Placement
from .errors import TrainingError, WpackError
from .stopping import Interrupted, Stop, never
from .tasks import Task, call_model


def evaluate(
    model: nn.Module,
    task: Task,
    data: Data,
    *,
    batch_size: int,
    placement: Placement,
    stop: Stop = never,
) -> dict[str, float]:
    """Mean over all rows of each of the task's metrics, and what it derives from them.

    Args:
        model: On the placement's device; evaluated in ``eval`` mode, and left in the
            mode it was in.
        batch_size: Examples at a time; the last batch may be smaller.
        stop: Asked before each batch.

    Returns:
        Metric → mean, summed in float64 in the order of the data; then those that
        the task derives.

    Raises:
        TrainingError: The data are empty, or the task or the model failed (the failure
            is the ``__cause__``).
        Interrupted: ``stop`` said so.
    """
    if len(data) == 0:
        raise TrainingError("the data to evaluate on are empty")
    sums: dict[str, list[Tensor]] = {}
    rows: dict[str, int] = {}
    generator = torch.Generator().manual_seed(0)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), blaming("evaluation"):
            for begin in range(0, len(data), batch_size):
                if code := stop():
                    raise Interrupted("stopped during evaluation", exit_code=code)
                indices = torch.arange(begin, min(begin + batch_size, len(data)))
                batch = placement.move(data.batch(indices, generator))
                with placement.autocast():
                    outputs = call_model(model, task.inputs(batch))
                    values = task.metrics(outputs, batch)
                for name, value in values.items():
                    # Left on the device: reading them one by one would wait each time.
                    sums.setdefault(name, []).append(_sum(value))
                    rows[name] = rows.get(name, 0) + value.numel()
    finally:
        model.train(was_training)
    means = {
        name: sum(torch.stack(parts).tolist()) / rows[name] if rows[name] else 0.0
        for name, parts in sums.items()
    }
    with blaming("evaluation"):
        return {**means, **task.derived(means)}


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
            hint="Set a smaller finetune.batch_size",
        ) from error
    except Exception as error:
        raise TrainingError(
            f"{type(error).__name__}: {error}".rstrip(": "),
            where=where,
            hint="--debug shows the traceback",
        ) from error


def _sum(values: Tensor) -> Tensor:
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    return values.sum(dtype=wide)
