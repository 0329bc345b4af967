"""The graph under tied weights: exact gradients, whatever reads what, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck

from wpack.errors import TrainingError
from wpack.reads import Reading, Reads, Span

#: What two tensors read of two pools: a range, one that overlaps it, one that wraps.
FIRST = [Span(0, 0, 0, 6)]
SECOND = [Span(0, 4, 0, 4), Span(1, 1, 4, 2)]
WRAPPED = [Span(1, 2, 0, 1), Span(1, 0, 1, 3), Span(1, 0, 4, 2)]
ALL = [FIRST, SECOND, WRAPPED]


def leaf(numel: int, trained: bool = True) -> Tensor:
    """A pool of known float64 values."""
    values = torch.arange(1, numel + 1, dtype=torch.float64) / numel
    return values.requires_grad_(trained)


def gathered(pools: Sequence[Tensor], spans: Sequence[Span]) -> Tensor:
    """What a list of spans reads, by plain indexing."""
    parts = [
        pools[s.pool][(s.start + torch.arange(s.numel)) % pools[s.pool].numel()]
        for s in spans
    ]
    return torch.cat(parts)


def readings(pools: Sequence[Tensor], lists: Sequence[list[Span]]) -> list[Reading]:
    """One flat reading a list, up to date."""
    reads = Reads(pools, [span for spans in lists for span in spans])
    found = [reads.read(spans) for spans in lists]
    for reading in found:
        reading.refresh()
    return found


def loss_of(tensors: Sequence[Tensor]) -> Tensor:
    """A loss whose gradient differs from entry to entry."""
    terms = [
        (tensor**3 * torch.arange(1, tensor.numel() + 1)).sum() * (i + 1)
        for i, tensor in enumerate(tensors)
    ]
    return torch.stack(terms).sum()


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], list[list[Span]]]:
    """Sizes of pools, and circular reads of any length from them."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    lists = []
    for _ in range(draw(st.integers(1, 5))):
        spans: list[Span] = []
        at = 0
        for _ in range(draw(st.integers(1, 2))):
            pool = draw(st.integers(0, len(sizes) - 1))
            start = draw(st.integers(0, sizes[pool] - 1))
            left = draw(st.integers(1, 3 * sizes[pool]))
            while left:
                numel = min(left, sizes[pool] - start)
                spans.append(Span(pool, start, at, numel))
                at, left, start = at + numel, left - numel, 0
        lists.append(spans)
    return sizes, lists


@given(cases(), st.randoms(use_true_random=False))
def test_gradients_are_those_of_indexing(
    case: tuple[list[int], list[list[Span]]], random: Any
) -> None:
    """Any reads, used in any order or not at all, give the gradient that indexing
    gives; whole numbers, so that every order of adding gives the same bits."""
    sizes, lists = case
    pools = [leaf(size) for size in sizes]
    used = [i for i in range(len(lists)) if random.random() < 0.8]
    random.shuffle(used)
    sizes_read = [sum(span.numel for span in lists[i]) for i in used]
    weights = [torch.arange(1.0, numel + 1).double() for numel in sizes_read]

    found = readings(pools, lists)
    if used:
        torch.autograd.backward([found[i].tensor for i in used], weights)
    expected = [torch.zeros(size, dtype=torch.float64) for size in sizes]
    for i, weight in zip(used, weights, strict=True):
        for span in lists[i]:
            target = expected[span.pool][span.start : span.start + span.numel]
            target += weight[span.at : span.at + span.numel]

    for i, reading in enumerate(found):
        assert torch.equal(gathered(pools, lists[i]), reading.tensor)
    for pool, gradient in zip(pools, expected, strict=True):
        none = torch.zeros_like(gradient)
        assert torch.equal(gradient, none if pool.grad is None else pool.grad)


def test_one_backward_pass_equals_autograd() -> None:
    """All reads of a loss in one backward pass give autograd's own gradient."""
    pools = [leaf(11), leaf(3)]
    expected = torch.autograd.grad(loss_of([gathered(pools, s) for s in ALL]), pools)

    loss_of([r.tensor for r in readings(pools, ALL)]).backward()

    for pool, gradient in zip(pools, expected, strict=True):
        torch.testing.assert_close(pool.grad, gradient, rtol=1e-14, atol=0.0)
    assert torch.equal(torch.zeros(3).double(), pools[0].grad[8:])  # nobody reads them


def test_gradcheck() -> None:
    """Numerical differences agree."""

    def loss(*pools: Tensor) -> Tensor:
        return loss_of([reading.tensor for reading in readings(pools, ALL)])

    assert gradcheck(loss, (leaf(11), leaf(3)))


def test_a_straight_range_is_a_view() -> None:
    """Steps of the pool are steps of the tensor; the node behind it stays."""
    pool = leaf(11)
    (reading,) = readings([pool], [FIRST])
    node = reading.tensor.grad_fn
    with torch.no_grad():
        pool.mul_(2)

    assert reading.buffer is None
    assert reading.tensor.data_ptr() == pool.data_ptr()
    assert torch.equal(pool[:6], reading.tensor)
    assert reading.tensor.grad_fn is node


def test_a_copy_follows_on_refresh() -> None:
    """What wraps is copied together, even after a change that leaves no trace."""
    pools = [leaf(11), leaf(3)]
    found = readings(pools, ALL)
    pools[1].data.mul_(2)
    found[2].refresh()

    assert found[2].buffer is not None
    assert torch.equal(gathered(pools, WRAPPED), found[2].tensor)


def test_other_dtype_is_a_copy() -> None:
    """A float64 pool read as float32: cast forwards, added up in float64."""
    pool = leaf(11)
    reading = Reads([pool], FIRST).read(FIRST, (2, 3), torch.float32)
    reading.refresh()
    reading.tensor.sum().backward()

    assert reading.tensor.dtype == torch.float32
    assert torch.equal(pool[:6].view(2, 3).float(), reading.tensor)
    assert pool.grad is not None
    assert pool.grad.dtype == torch.float64


def test_gradients_accumulate_over_forward_passes() -> None:
    """Two forward passes, refreshed between, then two backward passes."""
    pools = [leaf(11), leaf(3)]
    found = readings(pools, ALL)
    losses = []
    for _ in range(2):
        for reading in found:
            reading.refresh()
        losses.append(loss_of([r.tensor for r in found]))
    for loss in losses:
        loss.backward()
    twice = loss_of([gathered(pools, s) for s in ALL]) * 2
    expected = torch.autograd.grad(twice, pools)

    for pool, gradient in zip(pools, expected, strict=True):
        torch.testing.assert_close(pool.grad, gradient, rtol=1e-14, atol=0.0)


@pytest.mark.parametrize("which", [0, 2], ids=["view", "copy"])
def test_backward_through_a_changed_pool_is_refused(which: int) -> None:
    """Autograd's check of versions works as for any parameter."""
    pools = [leaf(11), leaf(3)]
    found = readings(pools, ALL)
    loss = loss_of([found[which].tensor])
    with torch.no_grad():
        for pool in pools:
            pool.add_(1)
    found[which].refresh()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_second_derivatives_of_pools_are_refused() -> None:
    """They would be missing without a word; those of inputs are exact."""
    pool, inputs = leaf(11), leaf(6)
    (reading,) = readings([pool], [FIRST])
    loss = (reading.tensor**2 * inputs**2).sum()
    with pytest.raises(TrainingError, match="second derivatives with respect to pools"):
        torch.autograd.grad(loss, pool, create_graph=True)
    loss = (reading.tensor**2 * inputs**2).sum()
    (slope,) = torch.autograd.grad(loss, inputs, create_graph=True)
    slope.sum().backward()

    assert pool.grad is not None
    torch.testing.assert_close(pool.grad[:6], (4 * pool[:6] * inputs).detach())


def test_a_frozen_pool_gets_no_gradient() -> None:
    """One pool of a tensor made of two is frozen."""
    pools = [leaf(11, trained=False), leaf(3)]
    found = readings(pools, ALL)
    loss_of([r.tensor for r in found]).backward()

    assert not found[0].tensor.requires_grad
    assert pools[0].grad is None
    assert pools[1].grad is not None
    assert {} == found[0].totals[0].passes


def test_asking_for_one_pool_leaves_no_trace() -> None:
    """``torch.autograd.grad`` for one pool, then ``backward`` for all."""
    pools = [leaf(11), leaf(3)]
    found = readings(pools, ALL)
    wanted = torch.autograd.grad(loss_of([gathered(pools, s) for s in ALL]), pools)
    loss = loss_of([r.tensor for r in found])
    (second,) = torch.autograd.grad(loss, pools[1:], retain_graph=True)
    loss.backward()

    torch.testing.assert_close(second, wanted[1], rtol=1e-14, atol=0.0)
    for pool, gradient in zip(pools, wanted, strict=True):
        torch.testing.assert_close(pool.grad, gradient, rtol=1e-14, atol=0.0)


class Failing(torch.autograd.Function):
    """Fails on the way back, as memory that runs out does."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        return tensor.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        raise MemoryError


def test_a_failed_backward_pass_is_forgotten() -> None:
    """What it had folded does not enter the next one, and its memory is dropped."""
    pool = leaf(11)
    reads = Reads([pool], [*FIRST, *SECOND[:1]])
    early = reads.read(FIRST)
    early.refresh()
    failing = Failing.apply(early.tensor).sum()  # type: ignore[no-untyped-call]
    late = reads.read(SECOND[:1])  # made last, so the first on the way back
    late.refresh()
    with pytest.raises(MemoryError):
        torch.autograd.backward([late.tensor.sum(), failing])
    left = [len(total.passes) for total in reads.totals]
    reads.forget()
    early.tensor.sum().backward()

    assert [1] == left
    assert [{}] == [total.passes for total in reads.totals]
    assert torch.equal(torch.tensor([1.0] * 6 + [0.0] * 5).double(), pool.grad)


def test_gradients_reuse_memory_that_nobody_holds() -> None:
    """A step's gradient takes the place of the last one only when that is gone."""
    pool = leaf(11)
    (reading,) = readings([pool], [FIRST])

    def gradient() -> Tensor:
        pool.grad = None
        reading.tensor.sum().backward()
        assert pool.grad is not None
        return pool.grad

    place = gradient().data_ptr()
    held = gradient()
    row = held[2:4]
    held_at = held.data_ptr()
    row.fill_(7.0)
    del held
    other = gradient().data_ptr()

    assert place == held_at
    assert other != held_at
    assert row.tolist() == [7.0, 7.0]
