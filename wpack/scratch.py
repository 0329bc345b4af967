"""Training without a checkpoint: the network as its task makes it is the source."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from . import checkpoint, durable, sampling
from .errors import UsageError
from .runs import INITIAL, Run
from .slots import slots
from .spec import FinetuneSpec
from .student import raw_blocks
from .tasks import Task
from .tensors import BY_NAME, TensorInfo

#: What to tell whose spec distils from a checkpoint that there is not.
NO_TEACHER = (
    "there is no checkpoint to learn from, so labels teach alone;"
    " finetune.distill.teacher names another teacher"
)

# What random numbers are for here; a step of training has other uses.
_INITIAL = 3


def first_weights(task: Task, seed: int, run: Run) -> Path:
    """What a run has in place of a checkpoint: the new model, written into the run's
    folder, where a resumed run finds it again.

    Raises:
        UsageError: The folder has a run that was started from a checkpoint.
        StorageError: The file cannot be written.
    """
    path = run.folder / INITIAL
    if (run.folder / "config.json").exists():
        if path.exists():
            return path
        raise UsageError(
            "the run was started from a checkpoint",
            where=run.folder,
            hint="Name the checkpoint, or start a run in another folder",
        )
    durable.make_folder(run.folder)
    _write(new_model(task, seed), path)
    return path


def new_model(task: Task, seed: int) -> nn.Module:
    """The task's model, its weights a function of the seed."""
    with sampling.seeded(torch.device("cpu"), seed, _INITIAL):
        return task.model()


def says_absent_teacher(recipe: FinetuneSpec) -> bool:
    """Whether the spec, and not the default, asks to distil from the checkpoint."""
    said = "distill" in recipe.model_fields_set
    return said and without_absent_teacher(recipe) is not recipe


def without_absent_teacher(recipe: FinetuneSpec) -> FinetuneSpec:
    """The recipe without distillation, unless it names a teacher: there is no original
    that could be it."""
    if recipe.distill is None or recipe.distill.teacher is not None:
        return recipe
    return recipe.model_copy(update={"distill": None})


def _write(module: nn.Module, path: Path) -> None:
    """All that the module's state dict has; what it holds twice is stored once."""
    roots: dict[int, str] = {}
    infos: list[TensorInfo] = []
    for name, slot in slots(module):
        tensor = slot.tensor
        root = roots.setdefault(id(tensor), name)
        dtype = BY_NAME[str(tensor.dtype).removeprefix("torch.")]
        alias_of = None if root == name else root
        infos.append(TensorInfo(name, dtype, tuple(tensor.shape), alias_of))
    found = dict(slots(module))
    stored = (info for info in infos if info.alias_of is None)
    arrays = ((i.name, raw_blocks(found[i.name].tensor, i.dtype)) for i in stored)
    checkpoint.write_safetensors(path, infos, arrays, force=True)
