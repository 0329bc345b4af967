"""The Fisher information that a run goes by: measured where its spec asks for it, and
kept in its folder."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from torch import nn

from . import durable
from .checkpoint import write_safetensors
from .devices import Placement, place
from .errors import TrainingError
from .events import Note
from .fisher import fisher
from .processes import Processes
from .runs import FISHER, Run
from .spec import FinetuneSpec
from .starting import Start
from .stopping import Stop
from .tasks import Task, split
from .tensors import BY_NAME, TensorInfo


def measured(
    model: nn.Module,
    task: Task,
    recipe: FinetuneSpec,
    start: Start,
    run: Run,
    device: str,
    processes: Processes,
    stop: Stop,
) -> Generator[Note, None, dict[str, np.ndarray]]:
    """The Fisher information of the start of a run, on the task's training data.

    Args:
        model: The network that is to be tied, not tied.
        processes: All of them; the first measures for all.

    Yields:
        What was measured, or that the run had it.

    Returns:
        As :func:`wpack.fisher.fisher`.

    Raises:
        TrainingError, Interrupted: As :func:`wpack.fisher.fisher`.
        StorageError: It cannot be kept.
    """
    placement = place(device, "float32", processes)

    def first() -> tuple[str, dict[str, np.ndarray]]:
        return _measured(model, task, recipe, start, run, placement, stop)

    # The same bits for all processes: selectors of codecs decide by them.
    told, found = processes.by_first(first)
    yield Note(told)
    return found


def _measured(
    model: nn.Module,
    task: Task,
    recipe: FinetuneSpec,
    start: Start,
    run: Run,
    placement: Placement,
    stop: Stop,
) -> tuple[str, dict[str, np.ndarray]]:
    """What to tell, and what was measured."""
    path, samples = run.folder / FISHER, recipe.fisher.samples
    about = {
        "plan": hashlib.sha256(start.plan.to_json().encode()).hexdigest(),
        "source": start.source.sha256,
        "samples": str(samples),
    }
    if run.resume and (kept := _read(path, about)):
        return f"{path}: Fisher information as it was measured", kept
    data = split(task, "train")
    if data is None:
        raise TrainingError("the task has no training data", where="data('train')")
    found = fisher(
        model.to(placement.device),
        task,
        data,
        samples=samples,
        placement=placement,
        plan=start.plan,
        backing=start.backing,
        stop=stop,
    )
    durable.make_folder(run.folder)
    _write(path, about, found)
    count = min(samples, len(data))
    return f"{path}: Fisher information of {count} training examples", found


def _write(
    path: Path, about: Mapping[str, str], found: Mapping[str, np.ndarray]
) -> None:
    float32 = BY_NAME["float32"]
    infos = [TensorInfo(name, float32, (len(each),)) for name, each in found.items()]
    arrays = ((name, [each]) for name, each in found.items())
    write_safetensors(path, infos, arrays, metadata=about, force=True)


def _read(path: Path, about: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What a run has kept; nothing where it is about something else, or damaged."""
    if not path.exists():
        return {}
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if any(metadata.get(key) != value for key, value in about.items()):
                return {}
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError:
        return {}
