"""A file whose pool is read round and round."""

from __future__ import annotations

import torch

from tests.handmade import PER_PAGE, alias, kept, plan_of, pooled

#: Pages of the pool, half a mebibyte.
PAGES = 128
PLAN = plan_of(
    {"p": PAGES * PER_PAGE},
    pooled("wraps", (PAGES, PER_PAGE), ("p", PER_PAGE)),
    pooled("long", (3 * PAGES, PER_PAGE), ("p", 7)),
    alias("tied", "wraps", (PAGES, PER_PAGE)),
    kept("bias", (1000,)),
)


def sums(tensors: dict[str, torch.Tensor]) -> dict[str, float]:
    """Every weight looked at."""
    return {name: float(tensor.double().sum()) for name, tensor in tensors.items()}
