"""Working weights that a technique computes, in training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from tests.indexed import gathered, planned, sgd
from wpack.plan import Plan, PoolPlan
from wpack.table import Block, Slice, SliceTable
from wpack.techniques import Projection, Technique
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

    def expand(
        self,
        xp: Any,
        table: SliceTable,
        piece: Slice,
        backing: Any,
        first: int = 0,
        numel: int | None = None,
    ) -> Any:
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
