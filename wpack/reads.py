"""Reads of pools in an autograd graph, with gradients folded where they arise.

Slicing a parameter through autograd costs a gradient of the whole parameter per slice.
Here each read has a node of its own, which folds a gradient into its pool's buffer the
moment it arrives, still in the cache, and lets go of it; one more node per pool then
hands the buffer over.  The nodes save nothing, so the graph is built once and serves
every step:

    pool ── Fold ──┬── Read ── layer1.weight
                   └── Read ── layer2.weight

The edges between the two carry an empty tensor: they are there for the order alone.
And so that a gradient does not wait for all others, reads come first of all that the
backward pass could do next (:func:`hasten`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from .errors import TrainingError

#: The place in the backward pass that torch gives the gradients of its own leaves.
FIRST = 2**64 - 1


class Span(NamedTuple):
    """Entries ``at … at + numel - 1`` of a flat tensor are the backing weights of a
    pool from ``start``, straight.  ``pool`` is the pool's index in the plan."""

    pool: int
    start: int
    at: int
    numel: int


class Reads:
    """The graph behind all reads of some pools.

    Args:
        pools: Each ``(backing,)``; a leaf or not, requiring a gradient or not.
        spans: All spans that will be read.
    """

    def __init__(self, pools: Sequence[Tensor], spans: Iterable[Span]) -> None:
        edges: list[set[int]] = [{0, pool.numel()} for pool in pools]
        for span in spans:
            edges[span.pool] |= {span.start, span.start + span.numel}
        self.totals = [
            Total(pool, sorted(cuts)) for pool, cuts in zip(pools, edges, strict=True)
        ]
        self.folds = [_apply(_Fold, total, total.pool) for total in self.totals]

    def read(
        self,
        spans: Sequence[Span],
        shape: Sequence[int] = (-1,),
        dtype: torch.dtype | None = None,
        *,
        copied: bool = False,
    ) -> Reading:
        """A tensor made of ``spans``, which tile it; flat and of the pools' dtype
        unless told otherwise, and a view where it can be one unless it is to be
        ``copied``."""
        own = self.totals[spans[0].pool].pool.dtype
        return Reading(self, spans, shape, dtype or own, copied)

    def forget(self) -> None:
        """Drop what a backward pass that failed half-way has left."""
        if _backward_pass() < 0:
            for total in self.totals:
                total.passes.clear()


class Reading:
    """One tensor of the graph, for good: a view of a pool, or copied together.

    Attributes:
        tensor: The tensor, with the graph behind it.
        buffer: Where it is copied together, flat; None for a view.
    """

    def __init__(
        self,
        reads: Reads,
        spans: Sequence[Span],
        shape: Sequence[int],
        dtype: torch.dtype,
        copied: bool,
    ) -> None:
        self.spans, self.totals = spans, reads.totals
        self.sources = [
            self.totals[span.pool].pool.detach().narrow(0, span.start, span.numel)
            for span in spans
        ]
        self.buffer: Tensor | None = None
        self._versions: list[int] = []
        flat = self.sources[0]
        if copied or len(spans) > 1 or flat.dtype != dtype:
            numel = sum(span.numel for span in spans)
            flat = self.buffer = flat.new_empty(numel, dtype=dtype)
        self._pointer = flat.data_ptr()
        # detach() last: autograd then takes the tensor for no view, so that a step of
        # the pool leaves its node alone, but keeps the version counter, so that going
        # back through a forward pass from before that step is refused as ever.
        values = flat.view(torch.Size(shape)).detach()
        pools = sorted({span.pool for span in spans})
        self.tensor = _apply(_Read, self, [values], *(reads.folds[i] for i in pools))
        node: Any = self.tensor.grad_fn
        if node is not None:
            node._set_sequence_nr(FIRST)

    @property
    def in_place(self) -> bool:
        """Whether the tensor still is where it was made."""
        return self.tensor.data_ptr() == self._pointer

    def refresh(self, extra: Tensor | None = None, share: float = 0.0) -> None:
        """Copy together what is no view, and add ``share`` times ``extra``, flat.

        Always, since fused optimisers and ``.data`` leave a pool's version as it was;
        but the copy's version changes with the pools' only, so that gradients can be
        accumulated over several forward passes.
        """
        if self.buffer is None:
            return
        versions = [source._version for source in self.sources]
        target = self.buffer.data if versions == self._versions else self.buffer
        self._versions = versions
        with torch.no_grad():
            for span, source in zip(self.spans, self.sources, strict=True):
                target.narrow(0, span.at, span.numel).copy_(source)
            if extra is not None and share:
                target.add_(extra, alpha=share)


class Total:
    """The gradient of one pool, for each backward pass under way.

    The pool is cut at ``edges``, wherever a span begins or ends.  The first gradient of
    a segment is copied in, later ones are added, and what nobody read is set to zero at
    the end: no pass over the buffer is spent on clearing it.
    """

    def __init__(self, pool: Tensor, edges: Sequence[int]) -> None:
        self.pool, self.edges = pool, edges
        self.segment_at = {edge: i for i, edge in enumerate(edges)}
        # By backward pass, since they nest under reentrant checkpointing, and since
        # torch.autograd.grad may ask for some of the pools and leave others half done.
        self.passes: dict[int, tuple[Tensor, bytearray]] = {}
        self._memory = np.empty(0, np.uint8)
        self._idle_references = -1

    def add(self, start: int, gradient: Tensor) -> None:
        """Fold in the gradient ``(numel,)`` of the backing weights from ``start``."""
        task = _backward_pass()
        if task not in self.passes:
            self.passes[task] = self._buffer(), bytearray(len(self.edges) - 1)
        total, written = self.passes[task]
        first = self.segment_at[start]
        last = self.segment_at[start + gradient.numel()]
        for again, (begin, end) in self._stretches(written, first, last):
            part = gradient[begin - start : end - start]
            target = total[begin:end]
            target.add_(part) if again else target.copy_(part)
        written[first:last] = b"\1" * (last - first)

    def take(self) -> Tensor | None:
        """The gradient ``(backing,)``, handed over; None where nothing arrived."""
        if _backward_pass() not in self.passes:
            return None
        total, written = self.passes.pop(_backward_pass())
        for known, (begin, end) in self._stretches(written, 0, len(written)):
            if not known:
                total[begin:end].zero_()
        return total

    def _buffer(self) -> Tensor:
        """Room for a gradient, uninitialised.

        On a CPU it is the room of the last one, when no tensor holds that any more: a
        large piece of memory that comes afresh from the system for each step costs more
        than all the folding.  Other devices' allocators keep theirs by themselves.
        """
        if self.pool.device.type != "cpu":
            return torch.empty_like(self.pool)
        if sys.getrefcount(self._memory) != self._idle_references:
            self._memory = np.empty(self.pool.nbytes, np.uint8)
            self._idle_references = sys.getrefcount(self._memory)
        return torch.from_numpy(self._memory).view(self.pool.dtype)

    def _stretches(
        self, written: bytearray, first: int, last: int
    ) -> list[tuple[bool, tuple[int, int]]]:
        """Ranges of the pool over segments ``first … last - 1`` that are all written,
        or all not."""
        found = []
        for known, group in groupby(range(first, last), written.__getitem__):
            segments = list(group)
            begin, end = self.edges[segments[0]], self.edges[segments[-1] + 1]
            found.append((bool(known), (begin, end)))
        return found


def hasten(tensor: Tensor) -> None:
    """Let the backward pass take what leads from ``tensor`` to its reads as soon as the
    gradient is there.

    Of the nodes that are ready it takes the one made last.  These were made before the
    network's own, so that all gradients of working weights would be kept until it is
    through with the network.
    """
    nodes: list[Any] = [tensor.grad_fn]
    while nodes:
        node = nodes.pop()
        if node is not None and node._sequence_nr() != FIRST:
            node._set_sequence_nr(FIRST)
            nodes += [earlier for earlier, _ in node.next_functions]


def _apply(function: type[Function], *arguments: Any) -> Tensor:
    apply: Callable[..., Tensor] = function.apply
    return apply(*arguments)


def _backward_pass() -> int:
    """A number for the backward pass under way, -1 outside of one.  torch's own
    activation checkpointing tells them apart by it."""
    return int(torch._C._current_graph_task_id())


class _Fold(Function):
    """Pool → empty tensor.  Backward: the pool's gradient, once all reads have come."""

    @staticmethod
    def forward(ctx: Any, total: Total, pool: Tensor) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.total = total
        return pool.new_empty(0)

    @staticmethod
    def backward(ctx: Any, _: Tensor | None) -> tuple[None, Tensor | None]:
        return None, ctx.total.take()


class _Read(Function):
    """Empty tensors, one a pool → the tensor that is read."""

    @staticmethod
    def forward(
        ctx: Any, reading: Reading, values: list[Tensor], *folds: Tensor
    ) -> Tensor:
        ctx.set_materialize_grads(False)
        ctx.spans, ctx.totals = reading.spans, reading.totals
        # In a list, since autograd would make a view of an argument that is returned.
        return values[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[None, ...]:
        if torch.is_grad_enabled():
            raise TrainingError(
                "second derivatives with respect to pools are not supported",
                hint="Leave create_graph=True to gradients of inputs",
            )
        nothing = (None,) * len(ctx.needs_input_grad)
        if gradient is None:
            return nothing
        flat = gradient.reshape(-1)
        for span in ctx.spans:
            total = ctx.totals[span.pool]
            if total.pool.requires_grad:
                total.add(span.start, flat[span.at : span.at + span.numel])
        return nothing
