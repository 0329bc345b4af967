"""What hypothesis draws: whole ``.wpool`` files."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import strategies as st

from tests.strategies import poolable
from wpack import container, strict_json
from wpack.plan import Plan
from wpack.plan_reader import read_plan
from wpack.tensors import BY_CODE, DType


@st.composite
def pool_files(draw: st.DrawFn) -> tuple[Plan, dict[str, np.ndarray]]:
    """A plan of pools, parts, wraps, casts, kept tensors and aliases, and the values
    of what it stores."""
    pools = [
        (f"p{i}", draw(poolable), draw(st.integers(1, 70)))
        for i in range(draw(st.integers(1, 3)))
    ]
    tensors: list[dict[str, object]] = []
    for i in range(draw(st.integers(0, 4))):
        parts: list[dict[str, object]] = []
        for _ in range(draw(st.integers(1, 3))):
            name, _, backing = draw(st.sampled_from(pools))
            numel = draw(st.integers(1, 200))
            start = draw(st.integers(0, backing - 1))
            part = {"pool": name, "start": start, "length": numel, "numel": numel}
            parts.append(part)
        total = sum(p["numel"] for p in parts)  # type: ignore[misc]
        code = draw(poolable).code
        tensors.append(
            {"name": f"w{i}", "dtype": code, "shape": [total, 1], "parts": parts}
        )
    for i in range(draw(st.integers(0, 4))):
        code = draw(st.sampled_from(list(BY_CODE)))
        shape = draw(st.lists(st.integers(0, 3), max_size=3))
        tensors.append({"name": f"k{i}", "dtype": code, "shape": shape, "kept": True})
    tensors = draw(st.permutations(tensors))
    if tensors:
        same = {k: tensors[0][k] for k in ("dtype", "shape")}
        tensors.append({"name": "alias", "alias": tensors[0]["name"], **same})
    document = {
        "version": 1,
        "alignment": draw(st.sampled_from([64, 4096])),
        "pools": [
            {
                "name": name,
                "dtype": dtype.code,
                "backing": backing,
                "technique": {"name": "global"},
            }
            for name, dtype, backing in pools
        ],
        "tensors": tensors,
    }
    plan = read_plan(strict_json.dumps(document))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return plan, {
        entry.name: _values(random, entry.dtype, entry.shape)
        for entry in container.arrange(plan).stored
    }


def _values(
    random: np.random.Generator, dtype: DType, shape: tuple[int, ...]
) -> np.ndarray:
    """Any bits, but for BOOLs, NaNs that a pool may hold (a cast loses their payload)
    and what a float32 cannot hold."""
    bits = random.integers(0, 256, math.prod(shape) * dtype.itemsize, "u1")
    if dtype.code == "BOOL":
        bits &= 1
    raw = bits.view(dtype.raw)
    if dtype.poolable and dtype.code != "BF16":
        narrow = np.abs(raw) < np.finfo("<f4").max  # False for NaN and infinity
        raw = np.where(narrow, raw, raw.dtype.type(-0.0))
    if dtype.code == "BF16":
        raw = raw & np.uint16(0xBFFF)
    return raw.reshape(shape)
