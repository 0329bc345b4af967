"""Tied training: the same as with indices, however the module is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, Optimizer

from tests.indexed import (
    Indexed,
    Net,
    adamw,
    fused_sgd,
    gathered,
    loss_of,
    planned,
    same,
    sgd,
    tied,
    tokens,
    train,
)
from wpack.errors import TrainingError
from wpack.plan import Plan, PoolPlan, TensorPlan
from wpack.tensors import TensorInfo
from wpack.tie import Tied


@pytest.mark.parametrize("optimizer", [sgd, fused_sgd, adamw])
def test_training_is_that_with_indices(
    optimizer: Callable[[Any], Optimizer],
) -> None:
    """Five steps: losses, pools, kept tensors and working weights of the reference."""
    model = tied(torch.float64)
    reference = Indexed(model)

    expected = train(reference, optimizer(reference.parameters()))
    actual = train(model, optimizer(model.parameters()))

    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0.0)
    assert expected[-1] != expected[0]
    for name, value in reference.pools.items():
        torch.testing.assert_close(model.backing()[name], value.detach())
    for name, value in model.kept().items():
        torch.testing.assert_close(value, reference.net.state_dict()[name])
    made = gathered(model.plan, model.backing())
    same({t.name: made[t.name] for t in model.plan.pooled}, model.working())


def test_parameters_are_pools_and_what_is_kept() -> None:
    """One leaf a pool, and no working weight anywhere in the state."""
    model = tied()
    pools = ["pools.query", "pools.rest-of-it", "pools.wide"]
    kept = [f"module.{t.name}" for t in model.plan.kept]

    assert [*pools, *kept] == list(model.state_dict())
    trained = [n for n in kept if "running" not in n and "num_batches" not in n]
    assert [*pools, *trained] == [name for name, _ in model.named_parameters()]
    assert all(parameter.is_leaf for parameter in model.parameters())
    assert {"query", "rest-of-it", "wide"} == model.backing().keys()
    assert "640 working weights from 240 backing weights" in repr(model)


def test_views_and_copies() -> None:
    """``mix`` is a view of its pool; the others are put together, and counted."""
    model = tied()
    pools = {p.untyped_storage().data_ptr() for p in model.backing().values()}
    copies = {
        name: weight.nbytes
        for name, weight in model.working().items()
        if weight.untyped_storage().data_ptr() not in pools
    }

    assert model.working().keys() - copies.keys() == {"mix.weight"}
    assert sum(copies.values()) == model.copied_nbytes


def test_names_that_modules_cannot_have() -> None:
    """A pool may be called what a module has an attribute for, or have dots."""
    plan = planned(Net())
    names = ["half", "a.b%", "wide"]
    pools = tuple(
        PoolPlan(name, pool.technique, pool.dtype, pool.table)
        for name, pool in zip(names, plan.pools, strict=True)
    )
    model = Tied(Net(), Plan(pools, plan.tensors, plan.alignment))
    keys = [name for name in model.state_dict() if name.startswith("pools.")]

    assert keys == ["pools.half", "pools.a%2Eb%25", "pools.wide"]
    assert names == list(model.half().backing())


def test_shared_parameters_stay_shared() -> None:
    """The head is the embedding, before and after a move."""
    net = tied().double().module
    assert isinstance(net, Net)

    assert net.head.weight is net.embed.weight


def test_aliases_of_kept_parameters_are_tied_again() -> None:
    """The plan knows an alias that the model holds as a copy of its own."""
    model = nn.ModuleDict({n: nn.Linear(2, 2) for n in ("first", "other", "third")})
    first, other = model["first"], model["other"]
    assert isinstance(first, nn.Linear)
    assert isinstance(other, nn.Linear)
    spec = "version: 1\npools: {p: {tensors: [third.weight], ratio: 2}}"
    plan = planned(model, spec)
    aliased = tuple(
        TensorPlan(TensorInfo(t.name, t.info.dtype, t.info.shape, "first.bias"))
        if t.name == "other.bias"
        else t
        for t in plan.tensors
    )
    model_tied = Tied(model, Plan(plan.pools, aliased, plan.alignment))

    assert other.bias is first.bias
    assert other.weight is not first.weight
    assert "other.bias" not in model_tied.kept()


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant: bool) -> None:
    """Blocks computed again in the backward pass give the same gradients."""
    model = tied(torch.float64)
    loss_of(model).backward()
    expected = {n: p.grad for n, p in model.named_parameters()}
    model.zero_grad()
    assert isinstance(model.module, Net)
    model.module.checkpointing = reentrant
    loss_of(model).backward()

    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_gradients_accumulate() -> None:
    """Two batches before a step, forward and backward in any order."""
    model = tied(torch.float64).eval()
    reference = Indexed(model)
    reference.net.eval()
    (loss_of(reference, 1) + loss_of(reference, 2)).backward()
    first = loss_of(model, 1)
    second = loss_of(model, 2)
    first.backward()
    second.backward()

    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_module_itself_follows_a_step() -> None:
    """Called by its owner, not through the tied module, it has the new weights; so
    do its parts after ``eval()``."""
    model = tied(torch.float64)
    train(model, fused_sgd(model.parameters()), steps=2)
    net = model.eval().module
    assert isinstance(net, Net)
    part = net.block(net.embed(tokens()))
    reference = Indexed(model)
    reference.net.eval()
    made = gathered(model.plan, model.backing())
    expected = functional_call(reference.net, made, (tokens(),))

    torch.testing.assert_close(net(tokens()), expected)
    reference.net.load_state_dict({**made, **model.kept()})
    torch.testing.assert_close(part, reference.net.block(reference.net.embed(tokens())))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_bound_without_gradients(mode: Callable[[], Any]) -> None:
    """A module thawed where gradients are off trains all the same when they are on."""
    expected = train(model := tied(), sgd(model.parameters()))
    model = tied()
    model.requires_grad_(False)
    frozen = model(tokens())
    model.load_state_dict(tied().state_dict())  # the statistics of before that pass
    model.requires_grad_(True)
    with mode():
        model.eval()(tokens())
    actual = train(model.train(), sgd(model.parameters()))

    assert not frozen.requires_grad
    assert expected == actual


def test_pools_given_for_one_call() -> None:
    """``functional_call`` with other pools uses them, and the next call its own."""
    model = tied(torch.float64).eval()
    names = [n for n, _ in model.named_parameters() if n.startswith("pools.")]
    pools = [model.get_parameter(name).detach().clone() for name in names[:2]]

    def loss(*values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=False))
        return loss_of(lambda batch: functional_call(model, given, (batch,)))

    before = loss_of(model)
    other = loss(*(pool * 2 for pool in pools))
    after = loss_of(model)

    assert torch.autograd.gradcheck(loss, [p.requires_grad_() for p in pools])
    assert before.item() == after.item()
    assert before.item() != other.item()


def test_memory_taken_from_under_a_weight() -> None:
    """cuDNN moves recurrent weights to a buffer of its own: they come back."""
    model = tied()
    net = model.module
    assert isinstance(net, Net)
    expected = net.mix.weight.detach().clone()
    net.mix.weight.data = torch.zeros(8, 8)
    model(tokens())

    assert torch.equal(expected, net.mix.weight)
    pool = model.backing()["rest-of-it"].untyped_storage().data_ptr()
    assert pool == net.mix.weight.untyped_storage().data_ptr()


def test_backing_of_another_shape() -> None:
    """The module is as it was."""
    model = nn.Linear(8, 8)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}")
    with pytest.raises(TrainingError) as missing:
        Tied(model, plan, {})
    with pytest.raises(TrainingError) as misshapen:
        Tied(model, plan, {"p": torch.zeros(2, 4)})

    assert str(missing.value) == (
        "pool 'p': needs backing weights of shape (32,), got nothing"
    )
    assert str(misshapen.value) == (
        "pool 'p': needs backing weights of shape (32,), got shape (2, 4)"
    )
    assert isinstance(model.weight, nn.Parameter)


def test_no_backing_is_zeros() -> None:
    """For a state that is loaded next."""
    model = nn.Linear(8, 8)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}")

    assert torch.equal(torch.zeros(8, 8), Tied(model, plan).working()["weight"])


def test_backing_is_copied() -> None:
    """Training does not reach what the caller holds."""
    model = nn.Linear(8, 8)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}")
    given = torch.ones(32, dtype=torch.bfloat16)
    made = Tied(model, plan, {"p": given})
    made(torch.ones(1, 8)).sum().backward()
    SGD(made.parameters(), lr=1.0).step()

    assert made.backing()["p"].dtype == torch.float32
    assert torch.equal(torch.ones(32, dtype=torch.bfloat16), given)
