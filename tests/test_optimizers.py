"""Optimisers over pools and kept tensors, and their state as tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.tiny import network, recipe, same, tied
from wpack.errors import TrainingError
from wpack.optimizers import (
    load_state_tensors,
    make_optimizer,
    set_learning_rate,
    state_tensors,
    trained,
)

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.5}
ADAMW = {"name": "adamw", "lr": 0.1, "weight_decay": 0.5, "betas": (0.8, 0.9)}


def optimizer(student: nn.Module, options: dict[str, Any]) -> torch.optim.Optimizer:
    """An optimiser as a recipe asks for it."""
    return make_optimizer(student, recipe(optimizer=options).optimizer)


def step(student: nn.Module, made: torch.optim.Optimizer, times: int = 1) -> None:
    """Steps with gradients of one."""
    for _ in range(times):
        for parameter in student.parameters():
            parameter.grad = torch.ones_like(parameter)
        made.step()


def test_each_is_trained_once() -> None:
    """A pool is one parameter, whatever reads it; what is kept is trained too."""
    assert [
        "pools.main",
        "module.0.bias",
        "module.1.weight",
        "module.1.bias",
        "module.4.bias",
        "module.6.bias",
    ] == list(trained(tied()))


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (tied(), ["pools.main"]),
        (network(), ["0.weight", "4.weight", "6.weight"]),
    ],
)
def test_what_decays(student: nn.Module, expected: list[str]) -> None:
    """Pools and kept matrices decay; biases and norms do not."""
    decayed, others = optimizer(student, SGD).param_groups
    names = {parameter: name for name, parameter in trained(student).items()}

    assert expected == [names[p] for p in decayed["params"]]
    assert (0.5, 0.0) == (decayed["weight_decay"], others["weight_decay"])
    assert len(names) == len(decayed["params"]) + len(others["params"])


def test_sgd_by_hand() -> None:
    """w ← w - lr · v, v ← momentum · v + g + decay · w, twice from w = 1, g = 1."""
    student = nn.Linear(1, 1, bias=False)
    nn.init.ones_(student.weight)
    made = optimizer(student, SGD)
    step(student, made)
    first = student.weight.item()
    set_learning_rate(made, 0.2)
    step(student, made)

    assert first == pytest.approx(1 - 0.1 * 1.5)
    second = 0.85 - 0.2 * (0.9 * 1.5 + 1 + 0.5 * 0.85)
    assert second == pytest.approx(student.weight.item())


def test_adamw_by_hand() -> None:
    """The first step is lr towards the sign of the gradient, after the decay."""
    student = nn.Linear(1, 1, bias=False)
    nn.init.ones_(student.weight)
    step(student, optimizer(student, ADAMW))

    assert 1 - 0.1 * 0.5 - 0.1 == pytest.approx(student.weight.item(), abs=1e-6)


@pytest.mark.parametrize("options", [SGD, ADAMW])
def test_fused(options: dict[str, Any]) -> None:
    """On a CPU auto is fused; without it the weights are the same up to rounding."""
    students = [tied() for _ in range(3)]
    made = [
        optimizer(student, {**options, "fused": fused})
        for student, fused in zip(students, ("auto", True, False), strict=True)
    ]
    for student, each in zip(students, made, strict=True):
        step(student, each, times=3)
    auto, fused, plain = (student.state_dict() for student in students)

    assert [True, True, False] == [each.defaults["fused"] for each in made]
    assert same(auto, fused)
    torch.testing.assert_close(auto, plain)


def test_auto_elsewhere() -> None:
    """Devices for which torch may have none get the plain optimiser."""
    assert not optimizer(network().to("meta"), SGD).defaults["fused"]


def test_nesterov() -> None:
    """Nesterov looks ahead; without momentum it is the plain step."""
    weights = []
    for momentum, nesterov in [(0.9, True), (0.9, False), (0.0, True)]:
        student = nn.Linear(1, 1, bias=False)
        nn.init.ones_(student.weight)
        options = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0}
        made = optimizer(
            student, {**options, "momentum": momentum, "nesterov": nesterov}
        )
        step(student, made)
        weights.append(student.weight.item())

    assert [1 - 0.19, 0.9, 0.9] == pytest.approx(weights)


@pytest.mark.parametrize("options", [SGD, ADAMW])
def test_state_round_trip(options: dict[str, Any]) -> None:
    """An optimiser with another's state takes the same next steps, bit for bit."""
    first, second = tied(), tied()
    one, other = optimizer(first, options), optimizer(second, options)
    step(first, one, 3)
    second.load_state_dict(first.state_dict())
    state = {name: t.clone() for name, t in state_tensors(one, first).items()}
    load_state_tensors(other, second, state)
    step(first, one, 2)
    step(second, other, 2)

    keys = {"momentum_buffer"} if options is SGD else {"exp_avg", "exp_avg_sq", "step"}
    assert {f"pools.main/{key}" for key in keys} <= set(state)
    assert len(keys) * len(trained(first)) == len(state)
    for name, parameter in trained(first).items():
        assert torch.equal(parameter, trained(second)[name])


def test_state_for_backing_weights_only() -> None:
    """What an optimiser remembers has the size of the backing weights, not of the
    working weights."""
    student = tied()
    made = optimizer(student, SGD)
    step(student, made)

    numel = sum(tensor.numel() for tensor in state_tensors(made, student).values())
    assert sum(p.numel() for p in trained(student).values()) == numel


def test_nothing_to_train() -> None:
    """A student without trainable parameters is refused."""
    with pytest.raises(TrainingError) as caught:
        optimizer(network().requires_grad_(False), SGD)

    assert "nothing to train: no parameter requires a gradient" == str(caught.value)
