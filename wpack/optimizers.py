"""Optimisers, and their state as named tensors: nothing in it needs a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from .errors import TrainingError
from .spec.recipe import AdamWSpec, SGDSpec
from .tie import Tied

#: Devices whose fused kernels step everything in one pass: five times as fast on a CPU.
_FUSED = ("cpu", "cuda")


def trained(student: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name, each once: pools and what is kept."""
    return {n: p for n, p in student.named_parameters() if p.requires_grad}


def make_optimizer(student: nn.Module, spec: AdamWSpec | SGDSpec) -> Optimizer:
    """An optimiser over :func:`trained`, on the device that the student is on.

    Backing weights decay, and so do kept tensors of rank 2 and more; biases and norms
    do not: decay pulls them off the values that the other weights were trained with.
    A pool has rank 1, so rank alone would not tell.

    Raises:
        TrainingError: Nothing in the student is trained.
    """
    pools = set(student.pools.parameters()) if isinstance(student, Tied) else set()
    parameters = list(trained(student).values())
    if not parameters:
        raise TrainingError("nothing to train: no parameter requires a gradient")
    decayed = [p for p in parameters if p.ndim >= 2 or p in pools]
    others = [p for p in parameters if p.ndim < 2 and p not in pools]
    groups: list[dict[str, Any]] = [
        {"params": group, "weight_decay": decay}
        for group, decay in ((decayed, spec.weight_decay), (others, 0.0))
        if group
    ]
    fused = spec.fused
    if fused == "auto":
        fused = all(
            p.device.type in _FUSED and p.is_floating_point() for p in parameters
        )
    if isinstance(spec, AdamWSpec):
        return AdamW(groups, lr=spec.lr, betas=spec.betas, fused=fused)
    # Without momentum Nesterov's is the same thing, and torch refuses it.
    nesterov = spec.nesterov and spec.momentum > 0
    return SGD(
        groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=fused
    )


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use ``rate`` from the next step on, for all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def state_tensors(optimizer: Optimizer, student: nn.Module) -> dict[str, Tensor]:
    """Momenta and whatever else an optimiser remembers, as ``parameter/key``."""
    return {
        f"{name}/{key}": value
        for name, parameter in trained(student).items()
        for key, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, Tensor)
    }


def load_state_tensors(
    optimizer: Optimizer, student: nn.Module, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what :func:`state_tensors` gave, where torch wants each to be."""
    names = {parameter: name for name, parameter in trained(student).items()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for path, value in tensors.items():
        name, _, key = path.rpartition("/")
        state.setdefault(order.index(name), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
