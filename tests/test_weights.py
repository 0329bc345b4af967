"""Working weights that a technique computes, in training."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.indexed import gathered, planned, sgd
from wpack import techniques
from wpack.plan import Plan, PoolPlan
from wpack.reads import Total
from wpack.table import Block, SliceTable
from wpack.techniques import Projection, Stretch, Technique
from wpack.tensors import FLOAT32
from wpack.tie import Tied


@dataclass(frozen=True)
class Squared(Technique):
    """Working weights are squares of backing weights, side by side."""

    zero_copy: ClassVar[bool] = False

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        slices = []
        start = 0
        for block in blocks:
            slices.append(block.reading(start % backing, block.numel))
            start += block.numel
        return SliceTable(backing, tuple(slices))

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        return xp.square(backing)

    def project(self, table: SliceTable, dtype: Any) -> Projection:
        raise AssertionError("not needed here")


#: The upper rows of ``0.weight`` are computed, the lower ones ranges.
COMPUTED = """
version: 1
split: {0.weight: [upper, lower]}
pools:
  computed: {tensors: ["0.weight#upper", "2.weight"], size: 16}
  ranges: {tensors: ["0.weight#lower"], ratio: 1}
"""


def test_techniques_that_compute() -> None:
    """Their working weights are made before each forward pass, with autograd; also
    of a narrower pool, for a part of a tensor, and where what they read wraps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    plan = planned(model, COMPUTED)
    computed, ranges = plan.pools
    squared = PoolPlan("computed", Squared(), FLOAT32, computed.table)
    plan = Plan((squared, ranges), plan.tensors, plan.alignment)
    start = {
        "computed": torch.randn(16),
        "ranges": torch.randn(ranges.backing).double(),
    }
    plain = copy.deepcopy(model)
    pools = {name: nn.Parameter(value.clone()) for name, value in start.items()}
    actual = Tied(model, plan, start)

    def expected(inputs: Tensor) -> Tensor:
        values = pools | {"computed": (pools["computed"] ** 2).double()}
        made = functional_call(plain, gathered(plan, values), (inputs,))
        assert isinstance(made, Tensor)
        return made

    inputs = torch.randn(5, 4, dtype=torch.float64)
    kept = [plain.get_parameter(t.name) for t in plan.kept]
    for network, parameters in (
        (actual, list(actual.parameters())),
        (expected, [*pools.values(), *kept]),
    ):
        optimizer = sgd(parameters)
        for _ in range(3):
            optimizer.zero_grad()
            network(inputs).square().mean().backward()
            optimizer.step()

    for name, pool in pools.items():
        torch.testing.assert_close(actual.backing()[name], pool.detach())
    torch.testing.assert_close(actual(inputs), expected(inputs), rtol=1e-5, atol=0.0)
    assert actual.copied_nbytes == 4 * 18  # what 2.weight reads wraps


@dataclass(frozen=True)
class Watched(Squared):
    """Counts, whenever it makes a tensor, which of all it made are still there."""

    made: ClassVar[list[weakref.ref[Tensor]]] = []
    alive: ClassVar[list[list[int]]] = []

    def _expand(self, xp: Any, stretch: Stretch, backing: Any) -> Any:
        new = super()._expand(xp, stretch, backing)
        self.alive.append([i for i, ref in enumerate(self.made) if ref() is not None])
        self.made.append(weakref.ref(new))
        return new


def test_old_weights_make_room() -> None:
    """A tensor's last value is gone before the next tensor is made anew: computed
    weights take their memory once."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    plan = planned(model, 'version: 1\npools: {p: {tensors: ["*"], ratio: 1}}')
    (pool,) = plan.pools
    watched = PoolPlan("p", Watched(), FLOAT32, pool.table)
    tied = Tied(model, Plan((watched,), plan.tensors, plan.alignment))
    tied(torch.randn(2, 4)).sum().backward()

    # Of the first pass there are 0 and 1, then 2 and 3 take their places.
    assert [[], [0], [0, 1], [1, 2]] == Watched.alive


@pytest.mark.parametrize("technique", techniques.names())
def test_gradients_do_not_wait(technique: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes to its pool before the pass goes on to the layer below: no more than
    one is kept, though their nodes are older than the network's."""
    model = nn.Sequential(*(nn.Linear(8, 8, bias=False) for _ in range(3)))
    pool = f"{{technique: {technique}, tensors: ['*'], ratio: 3}}"
    tied = Tied(model, planned(model, f"version: 1\npools: {{p: {pool}}}"))
    seen: list[str] = []
    add = Total.add

    def watched(total: Total, start: int, gradient: Tensor) -> None:
        seen.append("gradient")
        add(total, start, gradient)

    monkeypatch.setattr(Total, "add", watched)
    for name, layer in model.named_children():
        layer.register_full_backward_hook(lambda *_, name=name: seen.append(name))
    inputs = torch.randn(2, 8, requires_grad=True)
    for _ in range(2):
        seen.clear()
        tied(inputs).sum().backward()

        assert "gradient 2 gradient 1 gradient 0" == " ".join(seen)
