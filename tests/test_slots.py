"""Modules against plans: what fits, and what is said of what does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from wpack.errors import TrainingError
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.slots import match, slots
from wpack.spec import spec_from_ratio
from wpack.tensors import BY_NAME, TensorInfo


def planned(model: nn.Module, **changes: str | None) -> Plan:
    """A plan for a model, in which tensors have other names, or (None) are missing."""
    infos = [
        TensorInfo(
            changes.get(name, name) or "",
            BY_NAME[str(value.dtype).removeprefix("torch.")],
            tuple(value.shape),
        )
        for name, value in model.state_dict().items()
        if changes.get(name, name)
    ]
    return make_plan(spec_from_ratio(2.0), infos).plan


def perceptron(*widths: int) -> nn.Module:
    """Linear layers called ``0``, ``1`` and so on."""
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))


class Twice(nn.Module):
    """A layer under two names, and a weight shared with another layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.again = self.first
        self.other = nn.Linear(4, 4)
        self.other.weight = self.first.weight
        self.register_buffer("scratch", torch.zeros(3), persistent=False)


def test_slots_are_the_state_dict() -> None:
    """Every name of the state dict, shared tensors under each; nothing else."""
    model = Twice()

    assert list(model.state_dict()) == [name for name, _ in slots(model)]


def test_match_finds_every_name_of_a_parameter() -> None:
    """Names that the plan does not have belong to the tensor they are."""
    names = {"again.weight": None, "again.bias": None, "other.weight": None}
    held = match(Twice(), planned(Twice(), **names))

    assert held == {
        "first.weight": ("first.weight", "again.weight", "other.weight"),
        "first.bias": ("first.bias", "again.bias"),
        "other.bias": ("other.bias",),
    }


def test_other_model() -> None:
    """Everything that does not fit, at most five names of a kind."""
    plan = planned(perceptron(4, 4, 4, 4, 4, 4, 4))
    with pytest.raises(TrainingError) as error:
        match(perceptron(4, 5), plan)

    assert str(error.value) == (
        "Sequential: the model is not the one planned for: 10 not in it (1.weight,"
        " 1.bias, 2.weight, 2.bias, 3.weight, …); 2 of another shape (0.weight (5, 4),"
        " not (4, 4), 0.bias (5,), not (4,)). Build the model that the checkpoint"
        " belongs to"
    )


def test_near_name() -> None:
    """A name that is nearly right is pointed out; what would not be saved, too."""
    model = perceptron(4, 4)
    plan = planned(model, **{"0.weight": "0.wieght"})
    with pytest.raises(TrainingError) as error:
        match(model, plan)

    assert str(error.value) == (
        "Sequential: the model is not the one planned for: 1 not in it (0.wieght);"
        " 1 not in the plan (0.weight). Is '0.weight' what the plan calls '0.wieght'?"
    )


def test_counters_may_be_missing_in_the_plan() -> None:
    """Old checkpoints have no ``num_batches_tracked``; nothing of it is trained."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    held = match(model, planned(model, **{"1.num_batches_tracked": None}))

    names = ["0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var"]
    assert names == list(held)


def test_one_parameter_for_two_tensors() -> None:
    """A model that ties what the checkpoint holds twice would write one of them."""
    names = {"again.weight": None, "again.bias": None}
    with pytest.raises(TrainingError) as error:
        match(Twice(), planned(Twice(), **names))

    assert str(error.value) == (
        "Twice: the model is not the one planned for: 1 one in it and two in the plan"
        " (first.weight = other.weight). Build the model that the checkpoint belongs to"
    )
