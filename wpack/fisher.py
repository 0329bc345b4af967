"""The diagonal empirical Fisher information of a network's weights on a task.

For each weight, the mean over examples of the squared derivative of the loss of that
example: an error δ in a weight costs about ½ · F · δ² (LeCun, Denker, Solla, *Optimal
Brain Damage*, 1990; Tu et al., *Reducing the Model Order of Deep Neural Networks Using
Information Theory*, 2016).  A backing weight's derivative is the sum of those of the
weights that read it, example by example, before it is squared.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from . import sampling
from .arrangement import POOL_PREFIX
from .data import Data, converted, cut
from .devices import Placement
from .errors import TrainingError, WpackError
from .evaluate import blaming
from .plan import Plan
from .slots import match
from .stopping import Interrupted, Stop, never
from .tasks import Task, call_model

#: Bytes that the gradients of examples computed together may take.
_ROOM = 1 << 28
#: Examples computed together at most.
_TOGETHER = 64

#: Parameter → its derivatives, ``(examples, *shape)``.
Gradients = Mapping[str, Tensor]


def fisher(
    model: nn.Module,
    task: Task,
    data: Data,
    *,
    samples: int,
    placement: Placement,
    plan: Plan | None = None,
    backing: Mapping[str, np.ndarray] | None = None,
    stop: Stop = never,
) -> dict[str, np.ndarray]:
    """Measure it in one pass, in ``eval`` mode and full precision.

    Args:
        model: Untied, on the placement's device.
        samples: How many examples to take, evenly spread over the data, or all.
        plan: Pools that will hold the model's weights.
        backing: Pool → ``(backing,)``, where derivatives of a technique's products are
            taken.

    Returns:
        Name in a file → ``(numel,)`` float32: all parameters of the model, and
        ``pool/<name>`` for each pool of the plan.

    Raises:
        TrainingError: The data are empty, the task failed, or a derivative is NaN or
            infinite.
        Interrupted: ``stop`` said so.
    """
    if len(data) == 0:
        raise TrainingError("the data to measure Fisher information on are empty")
    folds = _folds(plan, backing or {}, placement.device) if plan else {}
    names = _names(model, plan)
    sums: dict[str, Tensor] = {}
    was_training = model.training
    model.eval()
    try:
        with blaming("Fisher information"):
            batches = _batches(model, data, samples, placement)
            for found in _per_example(model, task, batches, stop):
                gradients = {names[name]: g.flatten(1) for name, g in found.items()}
                for pool, fold in folds.items():
                    gradients[POOL_PREFIX + pool] = fold(gradients)
                for name, each in gradients.items():
                    total = each.square().sum(0)
                    sums[name] = sums[name] + total if name in sums else total
    finally:
        model.train(was_training)
    count = min(samples, len(data))
    means = {name: (total / count).cpu() for name, total in sums.items()}
    for name, mean in means.items():
        if not mean.isfinite().all():
            raise TrainingError("has derivatives that are NaN or infinite", where=name)
    return {name: mean.float().numpy() for name, mean in means.items()}


def _names(model: nn.Module, plan: Plan | None) -> dict[str, str]:
    """Parameter → the name it has in a file."""
    if plan is None:
        return {name: name for name, _ in model.named_parameters()}
    return {name: root for root, names in match(model, plan).items() for name in names}


def _batches(
    model: nn.Module, data: Data, samples: int, placement: Placement
) -> Iterator[Any]:
    """Examples, as many at a time as there is room for the gradients of."""
    nbytes = sum(parameter.nbytes for parameter in model.parameters())
    size = max(1, min(_TOGETHER, _ROOM // max(nbytes, 1)))
    count = min(samples, len(data))
    indices = torch.arange(count) * len(data) // count
    generator = sampling.generator(0)
    for begin in range(0, count, size):
        yield placement.move(data.batch(indices[begin : begin + size], generator))


def _per_example(
    model: nn.Module, task: Task, batches: Iterator[Any], stop: Stop
) -> Iterator[Gradients]:
    """Gradients of the loss of each example: of a batch of them at once, or where the
    model does not allow that one by one."""
    is_batched = True
    for batch in batches:
        if code := stop():
            what = "stopped while Fisher information was measured"
            raise Interrupted(what, exit_code=code)
        if is_batched:
            try:
                yield together(model, task, batch)
                continue
            except WpackError:
                raise
            except Exception:
                # Whatever torch.func cannot do; the task's own fault shows below.
                is_batched = False
        yield from one_by_one(model, task, batch)


def together(model: nn.Module, task: Task, batch: Any) -> Gradients:
    """Gradients of all examples of a batch, by ``torch.func``."""

    tensors: list[Tensor] = []
    converted(batch, lambda tensor: tensors.extend([tensor] if tensor.ndim else []))

    def loss(parameters: dict[str, Tensor], example: list[Tensor]) -> Tensor:
        rows = iter(example)
        alone = converted(batch, lambda t: next(rows).unsqueeze(0) if t.ndim else t)

        def called(*arguments: Any, **keywords: Any) -> Any:
            return functional_call(model, parameters, arguments, keywords)

        return task.loss(call_model(called, task.inputs(alone)), alone)

    parameters = {
        name: parameter.detach() for name, parameter in model.named_parameters()
    }
    each = vmap(grad(loss), in_dims=(None, 0), randomness="different")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operations that vmap does in a loop
        found: dict[str, Tensor] = each(parameters, tensors)
    return found


def one_by_one(model: nn.Module, task: Task, batch: Any) -> Iterator[Gradients]:
    """Gradients of the examples of a batch, each on its own, by autograd."""
    parameters = dict(model.named_parameters())
    asked = {name: p.requires_grad for name, p in parameters.items()}
    model.requires_grad_(True)
    try:
        for row in range(_rows(batch)):
            alone = cut(batch, _rows(batch), slice(row, row + 1))
            loss = task.loss(call_model(model, task.inputs(alone)), alone)
            found = torch.autograd.grad(
                loss, list(parameters.values()), allow_unused=True
            )
            yield {
                name: torch.zeros_like(parameters[name])[None] if g is None else g[None]
                for name, g in zip(parameters, found, strict=True)
            }
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(asked[name])


def _rows(batch: Any) -> int:
    sizes: list[int] = []
    converted(batch, lambda tensor: sizes.extend(tensor.shape[:1]))
    return min(sizes)


def _folds(
    plan: Plan, backing: Mapping[str, np.ndarray], device: torch.device
) -> dict[str, Callable[[Gradients], Tensor]]:
    """Pool → what makes ``(examples, backing)`` of flat gradients."""
    return {
        pool.name: _added(plan, index, device)
        if pool.technique.zero_copy
        else _pulled_back(plan, index, backing[pool.name], device)
        for index, pool in enumerate(plan.pools)
    }


def _reads(plan: Plan, index: int) -> Iterator[tuple[str, Any]]:
    for tensor in plan.pooled:
        for pool, piece in tensor.pieces:
            if pool == index:
                yield tensor.name, piece


def _added(
    plan: Plan, index: int, device: torch.device
) -> Callable[[Gradients], Tensor]:
    """For a technique that reads its pool straight."""
    pool, reads = plan.pools[index], list(_reads(plan, index))

    def fold(gradients: Gradients) -> Tensor:
        examples = len(gradients[reads[0][0]])
        total = torch.zeros(examples, pool.backing, device=device)
        for name, piece in reads:
            for start, at, length in pool.table.pieces(piece):
                first = piece.first + at
                part = gradients[name][:, first : first + length]
                total[:, start : start + length] += part
        return total

    return fold


def _pulled_back(
    plan: Plan, index: int, values: np.ndarray, device: torch.device
) -> Callable[[Gradients], Tensor]:
    """For any technique: its derivative at ``values``, example by example."""
    pool, reads = plan.pools[index], list(_reads(plan, index))
    leaf = torch.from_numpy(values).to(device).requires_grad_()
    made = []
    with torch.enable_grad():
        for _, piece in reads:
            spans = pool.table.pieces(piece)
            read = torch.cat([leaf[start : start + n] for start, _, n in spans])
            weights = pool.technique.expand(torch, pool.table, piece, read)
            made.append(weights.reshape(-1))

    def fold(gradients: Gradients) -> Tensor:
        parts = [gradients[n][:, p.first : p.first + p.numel] for n, p in reads]
        rows = [
            torch.autograd.grad(
                made, leaf, [part[row] for part in parts], retain_graph=True
            )[0]
            for row in range(len(parts[0]))
        ]
        return torch.stack(rows)

    return fold
