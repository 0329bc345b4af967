"""Pooled tensors in training: what they read of which pools, and their values."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .plan import Plan, TensorPlan
from .reads import Reads, Span, hasten


class Part(NamedTuple):
    """What a pooled tensor reads in one go, and what is to be computed from it."""

    spans: list[Span]
    expand: Callable[[Tensor], Tensor] | None


def parts_of(plan: Plan, tensor: TensorPlan) -> list[Part]:
    """One part where the tensor's pieces are ranges of pools and nothing else; one a
    piece where a technique has to compute."""
    parts: list[Part] = []
    for index, piece in tensor.pieces:
        pool = plan.pools[index]
        spans = [Span(index, *stretch) for stretch in pool.table.pieces(piece)]
        parts.append(
            Part(spans, partial(pool.technique.expand, torch, pool.table, piece))
        )
    if not all(plan.pools[index].technique.zero_copy for index, _ in tensor.pieces):
        return parts
    firsts = [piece.first for _, piece in tensor.pieces]
    whole = [
        span._replace(at=first + span.at)
        for first, part in zip(firsts, parts, strict=True)
        for span in part.spans
    ]
    return [Part(whole, None)]


class Weight:
    """The current value of one pooled tensor.

    Args:
        residual: What it is off its pools by, flat; None for a tensor that is tied.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        parts: list[Part],
        reads: Reads,
        residual: Tensor | None = None,
    ) -> None:
        self.shape, self.dtype, self.residual = shape, dtype, residual
        self.expands = [part.expand for part in parts if part.expand]
        if self.expands:
            self.readings = [reads.read(part.spans) for part in parts]
        else:
            copied = residual is not None
            self.readings = [reads.read(parts[0].spans, shape, dtype, copied=copied)]
            self.tensor = self.readings[0].tensor

    def refresh(self, share: float = 0.0) -> None:
        """Copy together or compute what is no view.

        Args:
            share: How much of the residual is there.
        """
        if not self.expands:
            self.readings[0].refresh(self.residual, share)
        else:
            for reading in self.readings:
                reading.refresh()
            pairs = zip(self.expands, self.readings, strict=True)
            made = [expand(r.tensor).reshape(-1).to(self.dtype) for expand, r in pairs]
            whole = made[0] if len(made) == 1 else torch.cat(made)
            if self.residual is not None and share:
                whole = whole.add(self.residual, alpha=share)
            self.tensor = whole.view(self.shape)
            hasten(self.tensor)
