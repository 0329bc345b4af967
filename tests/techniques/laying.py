"""Small pools for the techniques' own tests."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from wpack.table import Block, SliceTable
from wpack.techniques import Technique


def block(*shape: int, name: str = "w") -> Block:
    """A whole tensor."""
    return Block(name, shape, 0, prod(shape), "")


def made(technique: Technique, table: SliceTable, backing: Any) -> list[np.ndarray]:
    """What every slice's range expands to, float64, by numpy."""
    values = np.asarray(backing, "f8")
    return [
        technique.expand(np, table, s, values[s.start : s.end]) for s in table.slices
    ]


def projected(
    technique: Technique, table: SliceTable, *working: np.ndarray
) -> np.ndarray:
    """The projection of one array a slice, in float64."""
    projection = technique.project(table, np.dtype("<f8"))
    for piece, weights in zip(table.slices, working, strict=True):
        projection.add(piece, 0, np.asarray(weights, "f8").reshape(-1))
    return projection.finish()


def drawn(length: int, seed: int) -> np.ndarray:
    """Backing weights from a seed."""
    return np.random.default_rng(seed).standard_normal(length)
