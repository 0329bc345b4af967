"""Gradual tying: ties that are faded in over the first steps of a run.

A projection takes something from each working weight, its residual.  While ties fade
in, the network computes with

    w = (what the pool makes of it) + share · residual

and the share falls from 1, where the network is the checkpoint itself, straight to 0,
where its ties are whole.  Gradients reach the pools as ever: a residual is a constant.
Between two steps, and so in every evaluation and all that is saved, ties are whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from .errors import UsageError
from .tie import Tied


class Gradual:
    """The ties of a student over a run.

    Args:
        student: Has residuals (:meth:`wpack.tie.Tied.loosen`) if ``over`` is not 0;
            they are dropped if it is.
        over: Share of the run after which ties are whole; 0: they always are.

    Raises:
        UsageError: They have to fade in, and there is nothing to fade out.
    """

    def __init__(self, student: nn.Module, over: float) -> None:
        self.student = student if isinstance(student, Tied) else None
        self.over = over
        if not over:
            self.end()
        elif self.student is None or self.student.residuals is None:
            raise UsageError(
                "there are no residuals of a projection to fade out",
                where="finetune.gradual",
                hint="Set it to 0, or call loosen() of the tied network",
            )
        else:
            self.student.residuals.share = 0.0

    @contextmanager
    def at(self, progress: float) -> Iterator[None]:
        """The ties as they are after that share of the run, for as long as the block
        lasts."""
        if self.student is None or self.student.residuals is None:
            yield
            return
        residuals, left = self.student.residuals, 1 - progress / self.over
        if left <= 0:
            self.end()
            yield
            return
        residuals.share = left
        try:
            yield
        finally:
            residuals.share = 0.0
            self.student.refresh()

    def end(self) -> None:
        """Drop the residuals, which nothing will need again: working weights are views
        from here on."""
        if self.student is not None and self.student.residuals is not None:
            self.student.tighten()
