"""The golden file of format version 1, and how to make it again.

``python -m tests.golden.v1`` writes ``v1.wpool`` anew; only a new version of the format
gives a reason to.  Its plan meets every kind of tensor: views, a wrap, more than two
laps, parts, parts of two pools, a cast, kept ones of four widths, an alias.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from wpack import container, source
from wpack.container import Source
from wpack.plan import Plan, PoolPlan, TensorPlan
from wpack.table import Slice, SliceTable, block_shape
from wpack.techniques import named
from wpack.tensors import BY_CODE, DType, TensorInfo

PATH = Path(__file__).with_suffix(".wpool")
VERSION = "0.1.0"
SPEC = "version: 1\npools: {main: {tensors: ['*.weight'], size: 16}}  # μ\n"
SOURCE = Source("ab" * 32, 1234, "golden.safetensors")

F32, F16 = BY_CODE["F32"], BY_CODE["F16"]
POOLS = {
    "main": np.arange(16, dtype="<f4") - 4.5,
    "half": np.array([1, -1, 0.5, -0.0, 65504, 2**-24, np.inf], "<f2"),
}
KEPT = {
    "bias": np.array([0.25, np.nan, -3], "<f4"),
    "mask": np.array([True, False]),
    "none": np.zeros((0, 4), "<f4"),
    "steps": np.array(-7, "<i8"),
}

# Tensor → dtype, shape, parts: (pool, start, numel, part's name).
_Part = tuple[str, int, int, str]
_POOLED: dict[str, tuple[DType, tuple[int, ...], list[_Part]]] = {
    "embed.weight": (F32, (3, 3), [("main", 0, 9, "")]),
    "blocks.0.qkv.weight": (
        F32,
        (3, 4),
        [("main", 9, 4, "q"), ("main", 13, 4, "k"), ("half", 2, 4, "v")],
    ),
    "blocks.1.weight": (F32, (5, 8), [("main", 1, 40, "")]),
    "blocks.2.weight": (F16, (7,), [("half", 0, 7, "")]),
}


def plan() -> Plan:
    """The golden file's plan."""
    names = list(POOLS)
    slices: dict[str, list[Slice]] = {name: [] for name in names}
    tensors = []
    for name, (dtype, shape, parts) in _POOLED.items():
        pieces, first = [], 0
        for pool, start, numel, part in parts:
            piece = Slice(
                name, block_shape(shape, numel), first, numel, part, start, numel
            )
            slices[pool].append(piece)
            pieces.append((names.index(pool), piece))
            first += numel
        tensors.append(TensorPlan(TensorInfo(name, dtype, shape), tuple(pieces)))
    for name, raw in KEPT.items():
        (dtype,) = (d for d in BY_CODE.values() if d.raw == raw.dtype.str)
        tensors.append(TensorPlan(TensorInfo(name, dtype, raw.shape)))
    alias = TensorInfo("head.weight", F32, (3, 3), alias_of="embed.weight")
    pools = tuple(
        PoolPlan(name, named("global")(), dtype, SliceTable(len(POOLS[name]), tuple(s)))
        for (name, s), dtype in zip(slices.items(), (F32, F16), strict=True)
    )
    return Plan(pools, (*tensors, TensorPlan(alias)), 64)


def stored() -> Iterator[tuple[str, list[np.ndarray]]]:
    """What :func:`wpack.container.write` is given: blocks of three elements."""
    for entry in container.arrange(plan()).stored:
        name = entry.name.removeprefix("pool/")
        flat = {**POOLS, **KEPT}[name].reshape(-1)
        yield entry.name, [flat[i : i + 3] for i in range(0, flat.size, 3)]


def write(path: Path) -> None:
    """Write the golden file, as wpack 0.1.0 does."""
    with patch.object(source, "version", return_value=VERSION):
        container.write(path, plan(), SPEC, SOURCE, stored(), force=True)


if __name__ == "__main__":
    write(PATH)
