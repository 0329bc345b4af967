"""Learning rates by formula: a step's rate needs no state, so a resumed run has it."""

from __future__ import annotations

import math
from collections.abc import Callable

#: Name in the spec → share of the peak left at ``progress`` in [0, 1) after warm-up.
SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda progress: 1.0,
    "cosine": lambda progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "linear": lambda progress: 1.0 - progress,
}


def warmup_steps(warmup: int | float, steps: int) -> int:
    """Steps of warm-up: an int is their number, a float a share of all ``steps``."""
    return warmup if isinstance(warmup, int) else round(warmup * steps)


def learning_rate(
    step: int,
    steps: int,
    peak: float,
    shape: str = "cosine",
    warmup: int | float = 0,
) -> float:
    """Learning rate of a step, ``0 <= step < steps``.

    1. It climbs in a straight line through ``W = warmup_steps(warmup, steps)`` steps;
       the first has ``peak / (W + 1)``, so none is wasted on a rate of zero.
    2. From step W on it follows ``shape`` down from ``peak``; zero would be reached at
       step ``steps``, which is not taken.

    Args:
        peak: The optimiser's learning rate.
        shape: A name in :data:`SHAPES`.
        warmup: See :func:`warmup_steps`.
    """
    rising = warmup_steps(warmup, steps)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * SHAPES[shape]((step - rising) / (steps - rising))
