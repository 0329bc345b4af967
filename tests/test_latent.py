"""One tensor that is trained through its codecs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.blobs import SPEC, needs
from wpack.arrangement import Coded
from wpack.chain import Chain
from wpack.codecs import Selector
from wpack.errors import TrainingError
from wpack.latent import Latent
from wpack.tensors import BY_NAME

NUMEL = 200

CHAINS: dict[str, list[dict[str, object]]] = {
    "int": [{"int": 4}],
    "int zstd": [{"int": 3}, {"zstd": None}],
    "zstd": [{"zstd": None}],
    "binary": [{"binary": None}],
    "ternary": [{"ternary": None}],
    "pow2": [{"pow2": 4}],
    "incremental": [{"pow2": {"bits": 4, "incremental": True}}],
    "kmeans": [{"kmeans": 3}],
    "prune": [{"prune": 0.75}],
    "prune int": [{"prune": 0.5}, {"int": 4}],
    "prune binary": [{"prune": 0.5}, {"binary": None}],
    "prune incremental": [{"prune": 0.5}, {"pow2": {"incremental": True}}],
    "deep compression": [{"prune": 0.8}, {"kmeans": 2}, {"zstd": None}],
}


def chain_of(items: list[dict[str, object]]) -> Chain:
    """Codecs as a spec has them."""
    return Chain(SPEC.validate_python(items))


def params(*names: str) -> list[Any]:
    """Parameters for a test: chains, each of them gone with its codecs."""
    codecs = {name: [c for item in CHAINS[name] for c in item] for name in names}
    return [pytest.param(n, marks=needs(", ".join(c))) for n, c in codecs.items()]


def latent(
    items: list[dict[str, object]],
    numel: int = NUMEL,
    dtype: str = "float32",
    importance: np.ndarray | None = None,
) -> Latent:
    """The state of a pool called p."""
    coded = Coded(chain_of(items), BY_NAME[dtype], numel)
    return Latent("pool 'p'", coded, importance)


def weights(seed: int = 0, numel: int = NUMEL) -> Tensor:
    """Normal numbers."""
    return torch.randn(numel, generator=torch.Generator().manual_seed(seed))


def trained(found: Latent, values: Tensor, begin: int = 0, end: int = 20) -> Tensor:
    """Latents after steps of descent, with momentum and decay, towards others."""
    momentum = torch.zeros_like(values)
    target = weights(9, len(values))
    for step in range(begin, end):
        values = found.advance(values, step / 20)
        gradient = found.refined(values, found.fake(values, step / 20) - target)
        momentum = 0.9 * momentum + gradient
        before = values
        values = found.held(before, 0.99 * (before - 0.01 * momentum) + 0.001)
    return values


@pytest.mark.parametrize("name", params(*CHAINS))
def test_last_fake_is_what_a_file_holds(name: str) -> None:
    """At the end of the schedules, what the network computes with is what decoding the
    file gives, to the bit."""
    found = latent(CHAINS[name])
    values = found.advance(trained(found, weights()), 1.0)
    expected = found.decode(torch.from_numpy(found.encode(values, values).data.copy()))

    assert torch.equal(expected, found.fake(values, 1.0))


@pytest.mark.parametrize("name", params(*CHAINS))
@pytest.mark.parametrize("step", [1, 9, 10, 17])
def test_restored_goes_on_alike(name: str, step: int) -> None:
    """A state and the latents are all that the next steps depend on."""
    one = latent(CHAINS[name])
    values = trained(one, weights(), 0, step)
    other = latent(CHAINS[name])
    state = {key: value.clone() for key, value in one.state().items()}
    other.restore(state, torch.device("cpu"))
    expected = trained(one, values.clone(), step)

    assert torch.equal(expected, trained(other, values, step))
    assert one.state().keys() == other.state().keys()


@pytest.mark.parametrize("name", params(*(n for n in CHAINS if "prune" in n)))
def test_mask_holds(name: str) -> None:
    """Once pruned, a weight stays zero, and as many are as the ramp says."""
    found = latent(CHAINS[name])
    values, dead = weights(), torch.zeros(NUMEL, dtype=torch.bool)
    selector = found.coded.chain.selector
    assert selector is not None

    for step in range(20):
        values = trained(found, values, step, step + 1)
        now = selector.during(step / 20)
        zeros = values == 0
        assert isinstance(now, Selector)
        assert (~dead | zeros).all()
        assert now.survivors(NUMEL) == NUMEL - int(zeros.sum())
        dead = zeros
    assert selector.survivors(NUMEL) == NUMEL - int(dead.sum())


@needs("prune, binary, kmeans, zstd")
@pytest.mark.parametrize("name", ["prune binary", "deep compression"])
def test_dead_are_dead_in_the_file(name: str) -> None:
    """A living weight of exactly zero does not change places with a dead one, whatever
    its quantiser makes of zero."""
    found = latent(CHAINS[name])
    values = found.advance(weights(), 1.0)
    alive = found.alive
    assert alive is not None
    values = values.masked_fill(torch.arange(NUMEL) < 100, 0)
    made = found.decode(torch.from_numpy(found.encode(values, values).data.copy()))

    assert not made[~alive].any()


@needs("prune")
def test_fisher_decides() -> None:
    """By Fisher information, ½·F·w² says who survives, and goes on saying it."""
    importance = np.array([1, 100, 1, 1], "<f4")
    items: list[dict[str, object]] = [{"prune": {"share": 0.5, "by": "fisher"}}]
    found = latent(items, 4, importance=importance)
    values = found.advance(torch.tensor([3.0, 0.5, 1.0, 2.0]), 1.0)

    assert [3.0, 0.5, 0.0, 0.0] == values.tolist()


@needs("prune")
def test_what_a_file_pruned_stays_so() -> None:
    """Zeros that a file brings along are pruned before weights of no importance."""
    importance = np.array([0, 5, 0, 1], "<f4")
    items: list[dict[str, object]] = [{"prune": {"share": 0.5, "by": "fisher"}}]
    found = latent(items, 4, importance=importance)
    values = torch.tensor([0.0, 0.0, 1.0, 2.0])
    made = found.decode(torch.from_numpy(found.encode(values, values).data.copy()))

    assert [0.0, 0.0, 1.0, 2.0] == made.tolist()


@needs("prune")
def test_fisher_is_missed() -> None:
    """Without it, a message says which pool needs it."""
    found = latent([{"prune": {"share": 0.5, "by": "fisher"}}], 4)
    with pytest.raises(TrainingError) as caught:
        found.advance(torch.ones(4), 1.0)

    assert (
        "pool 'p': by: fisher needs the weights' Fisher information, which is measured"
        " on a task: use finetune, or by: magnitude"
    ) == str(caught.value)


@needs("kmeans")
def test_weights_of_one_value_move_together() -> None:
    """Each takes the sum of its value's gradients; they stay equal although rounding
    would part them."""
    found = latent([{"kmeans": 1}], 4)
    values = found.advance(torch.tensor([0.0, 0.2, 5.0, 5.2]), 0.0)
    gradient = found.refined(values, torch.tensor([1.0, 2.0, 4.0, 8.0]))
    after = found.held(values, values + torch.tensor([1.0, 1.0 + 1e-7, 2.0, 2.0]))

    assert [0.1, 0.1, 5.1, 5.1] == pytest.approx(values.tolist())
    assert [3.0, 3.0, 12.0, 12.0] == gradient.tolist()
    assert 2 == len(after.unique())
    assert [1.1, 1.1, 7.1, 7.1] == pytest.approx(after.tolist())


@needs("prune, kmeans")
def test_values_are_shared_once_pruning_is_done() -> None:
    """During the ramp survivors have values of their own; then as many as levels."""
    found = latent([{"prune": {"share": 0.5, "ramp": 0.5}}, {"kmeans": 2}])
    during = found.advance(weights(), 0.4)
    coded = found.fake(during, 0.4)
    after = found.advance(during, 0.5)

    assert torch.equal(during, coded)
    assert 5 == len(after.unique())  # and zero


@needs("pow2")
def test_fixed_share_grows_and_holds() -> None:
    """INQ: half, three quarters, seven eighths and all of the weights are fixed at the
    quarters; fixed ones stay to the bit, the others are not coded yet."""
    found = latent(CHAINS["incremental"])
    values = weights()
    held = torch.zeros(0)
    shares = []
    for step in range(20):
        before = found.fixed
        values = trained(found, values, step, step + 1)
        assert found.fixed is not None
        if before is not None:
            assert (found.fixed | ~before).all()
            assert torch.equal(held, values[before])
        held = values[found.fixed]
        shares.append(int(found.fixed.sum()) / NUMEL)

    assert [0.5] * 5 + [0.75] * 5 + [0.875] * 5 + [1.0] * 5 == shares
    assert torch.equal(values, found.fake(values, 1.0))


@needs("int")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("step", ["advance", "fake", "encode"])
def test_not_finite(bad: float, step: str) -> None:
    """A latent that is NaN or infinite is told of wherever it shows, with its pool."""
    found = latent(CHAINS["int"])
    values = weights()
    values[3] = bad
    arguments = (values, values) if step == "encode" else (values, 0.5)
    with pytest.raises(TrainingError) as caught:
        getattr(found, step)(*arguments)

    assert (
        "pool 'p': has weights that are NaN or infinite, which no codec stores."
        " Lower finetune.optimizer.lr, or set finetune.clip_norm"
    ) == str(caught.value)


@needs("prune, int")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_narrow_and_wide_dtypes(dtype: str) -> None:
    """What is decoded to another dtype than it is trained in is rounded in training as
    it will be."""
    found = latent([{"prune": 0.5}, {"int": 5}], dtype=dtype)
    values = weights().to(torch.float64 if dtype == "float64" else torch.float32)
    values = found.advance(values, 1.0)
    made = found.decode(torch.from_numpy(found.encode(values, values).data.copy()))

    assert getattr(torch, dtype) == made.dtype
    assert torch.equal(made.to(values.dtype), found.fake(values, 1.0))


@needs("prune, pow2")
def test_mean_keeps_what_holds() -> None:
    """Of a running mean, dead and fixed weights are stored as the latents are."""
    found = latent(CHAINS["prune incremental"])
    values = found.advance(weights(), 1.0)
    expected = found.fake(values, 1.0)
    mean = values + 0.01
    made = found.decode(torch.from_numpy(found.encode(mean, values).data.copy()))

    assert torch.equal(expected, made)


@needs("prune, int")
def test_importance_of_nothing_alive() -> None:
    """An empty tensor goes through all of it."""
    found = latent([{"prune": 0.5}, {"int": 4}], 0)
    values = found.advance(found.advance(torch.empty(0), 0.0), 1.0)

    assert 0 == len(found.fake(values, 1.0))
    assert 0 == len(
        found.decode(torch.from_numpy(found.encode(values, values).data.copy()))
    )
