"""The running mean of a student's weights (EMA), an alternative to its last ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def decay_at(step: int, decay: float) -> float:
    """Decay after step ``step`` (from 1): ``min(decay, (1 + step) / (10 + step))``.

    The mean thus forgets its start quickly, however short the training is.
    """
    return min(decay, (1 + step) / (10 + step))


class RunningMean:
    """``mean ← d · mean + (1 - d) · weights`` after each step, d from :func:`decay_at`.

    Batch-norm statistics are averaged too: those of the last step belong to weights
    that the mean is not.  Integers (counters) are taken as they are.

    Args:
        weights: Name → tensor; the mean starts there.
    """

    def __init__(self, weights: Mapping[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in weights.items()}

    @torch.no_grad()
    def update(self, weights: Mapping[str, Tensor], step: int) -> None:
        """Take in the weights after step ``step``, counted from 1."""
        share = 1.0 - decay_at(step, self.decay)
        for name, mean in self.tensors.items():
            if mean.is_floating_point():
                mean.lerp_(weights[name], share)
            else:
                mean.copy_(weights[name])
