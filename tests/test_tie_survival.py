"""Ties survive what is done to modules: moves, casts, copies, wrappers, compilers."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from tests.indexed import (
    Indexed,
    Net,
    gathered,
    loss_of,
    planned,
    same,
    sgd,
    tied,
    train,
)
from wpack.tie import Tied


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    """``.to(dtype)`` before or after an optimiser is made, which stays valid."""
    model = tied()
    optimizer = sgd(model.parameters())
    model.to(dtype)
    loss = loss_of(model.float() if dtype == torch.float16 else model)
    loss.backward()
    optimizer.step()
    model.to(dtype)
    made = gathered(model.plan, model.backing())

    assert {dtype} == {w.dtype for w in model.working().values()}
    same({t.name: made[t.name] for t in model.plan.pooled}, model.working())
    assert all(p.is_leaf and p.grad is not None for p in model.parameters())


def test_autocast() -> None:
    """In mixed precision, gradients arrive in the pools' own dtype."""
    model = tied()
    reference = Indexed(model)
    with torch.autocast("cpu", torch.bfloat16):
        expected = train(reference, sgd(reference.parameters()))
        actual = train(model, sgd(model.parameters()))

    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=0.0)
    assert {torch.float32} == {
        p.grad.dtype for p in model.parameters() if p.grad is not None
    }


def test_devices() -> None:
    """Everything moves; no graph of the old device is left."""
    model = tied().to("meta")
    loss = model(torch.zeros(3, 5, dtype=torch.long, device="meta")).sum()
    loss.backward()

    assert {"meta"} == {w.device.type for w in model.working().values()}
    assert {"meta"} == {
        p.grad.device.type for p in model.parameters() if p.grad is not None
    }


def copied(model: Tied) -> Tied:
    return copy.deepcopy(model)


def pickled(model: Tied) -> Tied:
    restored = pickle.loads(pickle.dumps(model))
    assert isinstance(restored, Tied)
    return restored


def saved(model: Tied) -> Tied:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    restored = torch.load(buffer, weights_only=False)
    assert isinstance(restored, Tied)
    return restored


def loaded(model: Tied) -> Tied:
    other = tied(seed=5)
    other.load_state_dict(model.state_dict())
    return other


def assigned(model: Tied) -> Tied:
    other = tied(seed=5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    other.load_state_dict(state, assign=True)
    return other


@pytest.mark.parametrize("twin", [copied, pickled, saved, loaded, assigned])
def test_twins(twin: Callable[[Tied], Tied]) -> None:
    """A copy is equal, trains like the original, and has nothing in common with it."""
    model = tied()
    train(model, sgd(model.parameters()), steps=1)
    other = twin(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    same(model.state_dict(), other.state_dict())
    actual = train(other, sgd(other.parameters()))
    untouched = {name: value.clone() for name, value in model.state_dict().items()}
    expected = train(model, sgd(model.parameters()))

    same(before, untouched)
    assert expected == actual
    same(model.working(), other.working())
    net = other.module
    assert isinstance(net, Net)
    assert net.head.weight is net.embed.weight
    pool = other.backing()["rest-of-it"].untyped_storage().data_ptr()
    assert pool == net.mix.weight.untyped_storage().data_ptr()


def test_a_pickle_holds_no_working_weights() -> None:
    """A hundred times as many of them make it no larger than their plan does."""
    model = nn.Linear(256, 256)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 64}}")

    assert len(pickle.dumps(Tied(model, plan))) < 8192 < model.weight.nbytes


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    distributed.init_process_group("gloo", rendezvous, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("views", [False, True])
def test_distributed_data_parallel(views: bool) -> None:
    """One gradient a pool crosses the network; training is that without DDP."""
    expected = train(model := tied(), sgd(model.parameters()))
    inner = tied()
    model = DistributedDataParallel(inner, gradient_as_bucket_view=views)
    actual = train(model, sgd(model.parameters()))

    assert expected == actual


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled(backend: str) -> None:
    """Compiled once, training is that of the module as it was."""
    expected = train(model := tied(), sgd(model.parameters()))
    model = tied()
    torch.compiler.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        actual = train(torch.compile(model, backend=backend), sgd(model.parameters()))

    torch.testing.assert_close(actual, expected)
