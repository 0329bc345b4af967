"""Networks filled from files: the tied student and its teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from . import weight_file
from .arrangement import POOL_PREFIX, arrange, coded
from .errors import UsageError
from .evaluate import blaming
from .limits import Limits
from .plan import Plan, TensorPlan
from .slots import match, slots
from .spec import FinetuneSpec, Spec
from .spec.distilling import TASK
from .tasks import Task
from .tensors import DType, TensorInfo, blocks, from_float
from .tie import Tied
from .weight_file import PooledWeights, WeightFile


def fill(module: nn.Module, weights: WeightFile) -> nn.Module:
    """Copy a file's tensors into a module that has the same names and shapes.

    Returns:
        The module.

    Raises:
        TrainingError: The module is not the one that the file was made from; the
            message lists what is missing, of another shape, or not in the file.
    """
    infos = {info.name: info for info in weights.infos}
    everything = Plan((), tuple(TensorPlan(info) for info in weights.infos), 64)
    held = match(module, everything)
    found = dict(slots(module))
    with torch.no_grad():
        for name in held:
            found[name].tensor.copy_(as_tensor(infos[name], weights.blocks(name)))
    return module


def teacher_of(
    spec: Spec,
    recipe: FinetuneSpec,
    task: Task,
    weights: WeightFile,
    limits: Limits,
) -> nn.Module | None:
    """The network that a recipe distils from, if it does.

    Args:
        weights: The checkpoint's, whose network it is unless the recipe names another.

    Raises:
        UsageError: It is to be the task's own, and the task has none.
        TrainingError: As :func:`fill`.
    """
    distill = recipe.distill
    if distill is None:
        return None
    if distill.teacher is None:
        return fill(task.model(), weights)
    if distill.teacher == TASK:
        return _own_teacher(task)
    path = spec.beside(distill.teacher)
    try:
        with weight_file.opened(path, limits=limits) as other:
            return fill(task.model(), other)
    except UsageError as error:  # There is no --key for a teacher.
        if "--key " not in error.hint:
            raise
        raise UsageError(
            error.what,
            where=path,
            hint="Save the one that is to teach in a file of its own",
        ) from None


def is_own_teacher(recipe: FinetuneSpec, weights: WeightFile) -> bool:
    """Whether a network that is tied already is to learn from itself."""
    return (
        isinstance(weights, PooledWeights)
        and recipe.distill is not None
        and recipe.distill.teacher is None
    )


def _own_teacher(task: Task) -> nn.Module:
    with blaming("the task's teacher"):
        found = task.teacher()
    if not isinstance(found, nn.Module):
        gave = "" if found is None else f", but gives a {type(found).__name__}"
        raise UsageError(
            f"the task has no teacher of its own{gave}",
            where="finetune.distill.teacher",
            hint="Define its teacher method, or write ./task for a file of that name",
        )
    return found


def tie(
    module: nn.Module,
    plan: Plan,
    backing: Mapping[str, np.ndarray],
    *,
    gradually: bool = False,
) -> Tied:
    """The module with its pooled weights tied.

    Args:
        backing: Pool → ``(backing,)``, float32 or float64.
        gradually: Whether the weights it has now are to fade out
            (:mod:`wpack.gradual`).
    """
    # Tying puts other tensors in their place.
    original = {name: slot.tensor for name, slot in slots(module)} if gradually else {}
    values = {name: torch.from_numpy(value) for name, value in backing.items()}
    tied = Tied(module, plan, values)
    if gradually:
        tied.loosen(original)
    return tied


def network(task: Task, weights: WeightFile) -> nn.Module:
    """The task's network with a file's weights, in float32 where it is in half
    precision: what is kept trains so, as pools do, and is rounded when it is stored.

    Raises:
        TrainingError: As :func:`fill`.
    """
    return widen(fill(task.model(), weights))


def widen(module: nn.Module, but: torch.dtype | None = None) -> nn.Module:
    """Make float32 of all parameters and buffers in half precision, in place: steps of
    a training are lost in the rounding of a bfloat16.

    Args:
        but: Stays as it is.

    Returns:
        The module.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dtype in (torch.bfloat16, torch.float16) and tensor.dtype != but:
            tensor.data = tensor.data.float()
    return module


def storage_dtypes(student: nn.Module) -> dict[str, torch.dtype]:
    """The dtypes that a tied student's plan stores it in, by state-dict name; nothing
    for another module, whose weights are stored as they are."""
    if not isinstance(student, Tied):
        return {}
    plan = student.plan
    pools = (f"pools.{name}" for name, _ in student.pools.named_parameters())
    dtypes = dict(zip(pools, (pool.dtype for pool in plan.pools), strict=True))
    dtypes |= {f"module.{t.name}": t.info.dtype for t in plan.kept}
    dtypes |= {
        f"module.{alias}": plan.by_name[root].info.dtype
        for alias, root in plan.aliases.items()
    }
    return {name: getattr(torch, dtype.name) for name, dtype in dtypes.items()}


def stored(student: Tied) -> Iterator[tuple[str, Iterator[np.ndarray]]]:
    """What a file of a student holds uncoded, in the file's order, raw in its
    dtypes."""
    dtypes = {POOL_PREFIX + pool.name: pool.dtype for pool in student.plan.pools}
    values = {POOL_PREFIX + name: pool for name, pool in student.backing().items()}
    values |= student.kept()
    is_coded = coded(student.plan)
    for entry in arrange(student.plan).stored:
        if entry.name in is_coded:
            continue
        dtype = dtypes.get(entry.name, entry.dtype)
        yield entry.name, raw_blocks(values[entry.name], dtype)


def as_tensor(info: TensorInfo, parts: Iterator[np.ndarray]) -> Tensor:
    """A tensor of its own from raw blocks."""
    raw = np.concatenate([np.empty(0, info.dtype.raw), *parts])
    flat = torch.from_numpy(raw.view(f"u{min(info.dtype.itemsize, 8)}"))
    return flat.view(getattr(torch, info.dtype.name)).reshape(info.shape)


def raw_blocks(tensor: Tensor, dtype: DType) -> Iterator[np.ndarray]:
    """A trained tensor in the dtype of the file; training may have widened it."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    for begin, end in blocks(flat.numel()):
        yield _raw(flat[begin:end], dtype)


def _raw(flat: Tensor, dtype: DType) -> np.ndarray:
    own = getattr(torch, dtype.name)
    if flat.dtype != own and dtype.poolable:
        return from_float(flat.to(_wide(flat)).numpy(), dtype)
    return flat.to(own).view(torch.uint8).numpy().view(dtype.raw)


def _wide(flat: Tensor) -> torch.dtype:
    return torch.float64 if flat.dtype == torch.float64 else torch.float32
