"""Which weights of a teacher are halved: those that autocast casts at each call."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from wpack.devices import place
from wpack.halving import Halving


class Mixed(nn.Module):
    """Every kind of weight: of matrices, kernels, tables, norms and recurrent layers;
    two layers share one, and one is the table's."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 6)
        self.kernel = nn.Conv1d(6, 6, 3, padding=1)
        self.batch_norm = nn.BatchNorm1d(6)
        self.wide_norm = nn.LayerNorm((6, 5))
        self.recurrent = nn.GRU(5, 5)
        self.linear = nn.Linear(5, 5)
        self.again = nn.Linear(5, 5)
        self.again.weight = self.linear.weight
        self.scale = nn.Parameter(torch.ones(6, 1))
        self.router = nn.Linear(5, 5)
        self.spectral = parametrizations.spectral_norm(nn.Linear(5, 5))
        self.pair = nn.Bilinear(5, 5, 6)
        self.head = nn.Linear(6, 7)
        self.head.weight = self.table.weight
        self.uncalled = nn.Linear(5, 5)

    def forward(self, indices: Tensor) -> Any:
        x = self.table(indices).transpose(1, 2) * self.scale
        x = self.wide_norm(self.batch_norm(self.kernel(x)))
        x, _ = self.recurrent(x.float())
        x = self.spectral(self.again(self.linear(x))).mean(1)
        with torch.autocast("cpu", enabled=False):
            x = x.float() * self.router(x.float()).sigmoid()
        return self.head(self.pair(x, x))


INDICES = torch.arange(15).view(3, 5) % 7


def made() -> Mixed:
    """The same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Mixed().eval()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@torch.no_grad()
def test_matrices_are_cast_once(precision: str) -> None:
    """What is put out is the same to the bit, the first time and later; what is shared
    stays so, and what anything else looks at is left alone."""
    network, dtype = made(), getattr(torch, precision)
    found = Halving(network, dtype, "cpu")
    with place("cpu", precision).autocast():
        expected = made()(INDICES)
        outputs = []
        for _ in range(3):
            with found.watching():
                outputs.append(network(INDICES))

    assert {"kernel.weight", "linear.weight", "again.weight"} == {
        name for name, value in network.state_dict().items() if value.dtype == dtype
    }
    assert network.linear.weight is network.again.weight
    assert all(torch.equal(expected, output) for output in outputs)
    assert not any(module._forward_pre_hooks for module in network.modules())


@torch.no_grad()
def test_a_layer_that_is_called_either_way() -> None:
    """One call in full precision, and it needs float32."""
    network = nn.Linear(5, 5)
    found = Halving(network, torch.bfloat16, "cpu")
    with found.watching():
        for context in (torch.autocast("cpu"), nullcontext()):
            with context:
                network(torch.ones(5))

    assert torch.float32 == network.weight.dtype


class Standardised(nn.Linear):
    """A layer that makes its product of something else than its weight."""

    def forward(self, input: Tensor) -> Tensor:
        return nn.functional.linear(input, self.weight - self.weight.mean(), self.bias)


@torch.no_grad()
def test_a_layer_with_a_forward_of_its_own() -> None:
    """It may look at its weight in another way; be it by class or by hand."""
    patched, plain = nn.Linear(5, 5), nn.Linear(5, 5)
    patched.forward = lambda x: nn.functional.linear(x, patched.weight * 2)  # type: ignore[method-assign]
    network = nn.Sequential(Standardised(5, 5), patched, plain)
    found = Halving(network, torch.bfloat16, "cpu")
    with found.watching(), torch.autocast("cpu"):
        network(torch.ones(3, 5))

    assert ["2.weight"] == [
        name for name, p in network.named_parameters() if p.dtype == torch.bfloat16
    ]


@torch.no_grad()
def test_another_autocast_inside() -> None:
    """What is computed in float16 is not rounded to bfloat16."""
    network = nn.Linear(5, 5)
    found = Halving(network, torch.bfloat16, "cpu")
    with found.watching(), torch.autocast("cpu", dtype=torch.float16):
        network(torch.ones(5))

    assert torch.float32 == network.weight.dtype


@pytest.mark.parametrize("width", [8, 6])
@torch.no_grad()
def test_attention(width: int) -> None:
    """torch's own is a product of all its matrices, though it calls no linear layer."""
    network = nn.MultiheadAttention(8, 2, kdim=width, vdim=width).eval()
    x, y = torch.randn(3, 2, 8), torch.randn(4, 2, width)
    found = Halving(network, torch.bfloat16, "cpu")
    outputs = []
    for _ in range(2):
        with found.watching(), torch.autocast("cpu"):
            outputs.append(network(x, y, y)[0])

    assert torch.equal(*outputs)
    assert {p.ndim == 2 for p in network.parameters() if p.dtype != torch.float32} == {
        True
    }
    assert all(p.dtype == torch.bfloat16 for p in network.parameters() if p.ndim == 2)


@torch.no_grad()
def test_gpt2s_layers() -> None:
    """transformers has a linear layer of its own."""
    layers = pytest.importorskip("transformers.pytorch_utils")
    network = layers.Conv1D(4, 5)
    found = Halving(network, torch.bfloat16, "cpu")
    with found.watching(), torch.autocast("cpu"):
        network(torch.ones(3, 5))

    assert torch.bfloat16 == network.weight.dtype
    assert torch.float32 == network.bias.dtype


@torch.no_grad()
def test_a_failure_halves_nothing() -> None:
    """Nor does it leave hooks."""
    network = nn.Linear(5, 5)
    found = Halving(network, torch.bfloat16, "cpu")
    with pytest.raises(RuntimeError), found.watching(), torch.autocast("cpu"):
        network(torch.ones(4))

    assert torch.float32 == network.weight.dtype
    assert not network._forward_pre_hooks
