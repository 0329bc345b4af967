"""A task and a tied network small enough to train in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wpack.data import TensorData
from wpack.planner import make_plan
from wpack.spec import FinetuneSpec, parse
from wpack.tasks import Task
from wpack.tensors import BY_NAME, TensorInfo
from wpack.tie import Tied

SPEC = """
version: 1
pools:
  main: {tensors: ["*.weight"], ratio: 1.5, dtype: DTYPE}
keep: ["1.weight"]
"""
CLASSES = 3


class Points(Task):
    """Points of the plane and the third they lie in, with noise, dropout and batch
    norm: everything random or stateful that training can have.

    Args:
        counts: Examples of each split; a split that is not named is None.
    """

    def __init__(self, **counts: int) -> None:
        self.counts = counts or {"train": 26, "validation": 9, "test": 7}

    def model(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(2, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Dropout(0.25),
            nn.Linear(8, 8),
            nn.ReLU(),
            nn.Linear(8, CLASSES),
        )

    def data(self, split: str) -> TensorData | None:
        if split not in self.counts:
            return None
        generator = torch.Generator().manual_seed(len(split))
        points = torch.randn(self.counts[split], 2, generator=generator)
        angle = torch.atan2(points[:, 0], points[:, 1]) / torch.pi  # -1 … 1
        labels = ((angle + 1) / 2 * CLASSES).long().clamp(max=CLASSES - 1)
        return TensorData(points, labels, transform=noisy if split == "train" else None)


class Still(Points):
    """The same without noise: an example is the same each time."""

    def data(self, split: str) -> TensorData | None:
        found = super().data(split)
        return found and TensorData(*found.tensors)


def noisy(batch: tuple[Tensor, ...], generator: torch.Generator) -> tuple[Tensor, ...]:
    """Points with noise from the generator."""
    points, labels = batch
    return points + 0.1 * torch.randn(points.shape, generator=generator), labels


def network(seed: int = 0) -> nn.Module:
    """The task's model with weights from a seed; the caller's stream is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Points().model()


def tied(dtype: str = "float32", seed: int = 0) -> Tied:
    """The network with its matrices in one pool of random backing weights."""
    module = network(seed)
    infos = [
        TensorInfo(name, BY_NAME[str(t.dtype).removeprefix("torch.")], tuple(t.shape))
        for name, t in module.state_dict().items()
    ]
    plan = make_plan(parse(SPEC.replace("DTYPE", dtype)), infos).plan
    generator = torch.Generator().manual_seed(seed + 1)
    values = torch.randn(plan.pools[0].backing, generator=generator) / 2
    return Tied(module, plan, {"main": values})


def recipe(**options: Any) -> FinetuneSpec:
    """A recipe of three epochs of four steps, without a teacher."""
    defaults: dict[str, Any] = {
        "epochs": 3,
        "batch_size": 6,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "distill": None,
    }
    return FinetuneSpec.model_validate({**defaults, **options})


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A copy of everything a module holds."""
    return {name: t.detach().clone() for name, t in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two states are equal bit for bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) for name in one
    )
