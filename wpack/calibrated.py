"""Calibration of what a file will hold, and of where training starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from .calibration import Outputs, calibrate, observe
from .coded import Coded
from .devices import Placement, place
from .errors import TrainingError, UsageError
from .feed import Feed
from .moments import shifted
from .plan import Plan
from .spec import FinetuneSpec, Spec
from .stopping import Stop
from .student import fill, network, raw_blocks
from .tasks import Task, make_task, split
from .tensors import DType, to_float
from .tie import Tied
from .weight_file import WeightFile

#: In place of a task's name: the task of the spec.
OF_SPEC = "spec"
NOTHING = (
    "nothing was calibrated: the network has no normalisation with parameters of its"
    " own, and no layer that was pooled has a bias"
)


def kept_values(
    spec: Spec,
    plan: Plan,
    original: WeightFile,
    unwritten: WeightFile,
    *,
    task: str,
    batches: int,
    device: str,
    on_bytes: Callable[[int, str], object],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """What a file's kept tensors have to be for its network to work.

    Holds one network, which is first the original and then what the file holds.

    Args:
        unwritten: The working weights of the file.
        task: As for :func:`wpack.api.evaluate`, or :data:`OF_SPEC`.
        on_bytes: Called with the bytes of weights that a batch met, twice a batch.

    Returns:
        Kept tensor → its values ``(numel,)``, raw, for those that have to change; and
        what a user should know.

    Raises:
        UsageError: The task or the device does not fit.
        TrainingError: The task's network is another one, or fails.
    """
    job, recipe = named(task, spec), spec.finetune or FinetuneSpec()
    feed = replace(
        _feed(job, recipe, batches, place(device, "float32")),
        on_batch=lambda: on_bytes(plan.inflated_bytes, "calibrating"),
    )
    model = network(job, original).to(feed.placement.device)
    reference = observe(model, plan, feed)
    if not reference:
        on_bytes(batches * plan.inflated_bytes, "calibrating")
    changed = calibrate(fill(model, unwritten), plan, feed, reference)
    values = {}
    for name, tensor in _planned(changed, plan):
        dtype = plan.by_name[name].info.dtype
        values[name] = _raw(name, tensor, dtype)
    notes = [*_uncalled(model, plan, reference), describe(values, batches)]
    return values, notes


def calibrate_start(
    student: Tied,
    original: WeightFile,
    job: Task,
    recipe: FinetuneSpec,
    importance: Mapping[str, np.ndarray],
    placement: Placement,
    stop: Stop,
) -> str:
    """Calibrate a student before its first step, on the values that it computes with.

    Nothing is stored of it: a run that is resumed before its first state does it
    again, with the same result.

    Args:
        importance: As for :class:`~wpack.coded.Coded`.
        placement: In full precision; where the student is afterwards.

    Returns:
        What a user should know.

    Raises:
        TrainingError, Interrupted: As :func:`wpack.calibration.calibrate`.
    """
    feed = replace(_feed(job, recipe, recipe.calibrate, placement), stop=stop)
    where = placement.device
    model = network(job, original).to(where)
    reference = observe(model, student.plan, feed)
    student.to(where)
    state, coded = student.state_dict(), Coded(student, importance)
    latents = {name: state[name].clone() for name in coded.names}
    with coded.in_place(0, 1):
        found = calibrate(student, student.plan, feed, reference)
        changed = {f"module.{name}": tensor.clone() for name, tensor in found.items()}
    with torch.no_grad():
        for name, value in {**latents, **changed}.items():
            state[name].copy_(value)
    return describe(found, recipe.calibrate)


def named(task: str, spec: Spec) -> Task:
    """The task that ``--calibrate`` names.

    Raises:
        UsageError: There is none, or whatever is wrong with it.
    """
    if task != OF_SPEC:
        return make_task(task)
    found = spec.finetune and spec.finetune.task
    if not found:
        raise UsageError(
            "the spec names no task to calibrate on",
            where="finetune.task",
            hint="Set it, or name the task: --calibrate MODULE:ATTR",
        )
    return make_task(found.name, found.options, spec.folder)


def describe(names: Iterable[str], batches: int) -> str:
    """How many tensors of which kinds were calibrated."""
    kinds = Counter(name.rpartition(".")[2] for name in names)
    if not kinds:
        return NOTHING
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    many = "kept tensor differs" if kinds.total() == 1 else "kept tensors differ"
    return (
        f"{kinds.total()} {many} from the checkpoint, calibrated on {batches}"
        f" {'batch' if batches == 1 else 'batches'}: {listed}"
    )


def _feed(job: Task, recipe: FinetuneSpec, batches: int, placement: Placement) -> Feed:
    data = split(job, "train")
    if data is None:
        raise TrainingError("the task has no training data", where="data('train')")
    return Feed(job, data, batches, recipe.batch_size, recipe.seed, placement)


def _planned(changed: Mapping[str, Tensor], plan: Plan) -> Iterable[tuple[str, Tensor]]:
    """Without what no file holds: a counter of batches may come on top."""
    for name, tensor in changed.items():
        root = plan.aliases.get(name, name)
        if root in plan.by_name:
            yield root, tensor


def _uncalled(model: nn.Module, plan: Plan, reference: Outputs) -> Iterable[str]:
    left = [name for name in shifted(model, plan) if name not in reference]
    if left:
        more = f" and {len(left) - 1} more" if left[1:] else ""
        yield f"{left[0]}{more}: used without being called, the bias stays as it is"


def _raw(name: str, tensor: Tensor, dtype: DType) -> np.ndarray:
    """As the file holds it."""
    raw = np.concatenate(list(raw_blocks(tensor, dtype)))
    if dtype.poolable and not np.isfinite(to_float(raw, dtype)).all():
        raise TrainingError(
            f"would hold values that are too large for {dtype.name}",
            where=name,
            hint="Compress a checkpoint of a wider dtype",
        )
    return raw
