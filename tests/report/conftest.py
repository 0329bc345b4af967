"""Two files and a plan, small enough to check by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wpack import techniques
from wpack.plan import Plan, PoolPlan, TensorPlan
from wpack.stats import (
    FileStats,
    GroupStats,
    LoadStats,
    PartStats,
    PoolStats,
    StageStats,
    TensorStats,
)
from wpack.table import Slice, SliceTable
from wpack.tensors import FLOAT32, TensorInfo


@pytest.fixture
def packed() -> FileStats:
    """A .wpool: pools ``q`` and ``mlp``, a kept bias, an alias and 200 header bytes."""
    tensors = (
        TensorStats(
            "blocks.0.qkv.weight",
            (8, 4),
            "float32",
            "pooled",
            (PartStats("q", 0, 16, 16), PartStats("mlp", 0, 16, 16)),
            80,
            True,
        ),
        TensorStats(
            "blocks.1.fc.weight",
            (4, 8),
            "float32",
            "pooled",
            (PartStats("mlp", 16, 32, 32),),
            112,
            False,
            "crosses the end of its pool",
        ),
        TensorStats("blocks.1.fc.bias", (4,), "float32", "kept", (), 16, True),
        TensorStats("out.weight", (8, 4), "float32", "alias", (), 0, True),
    )
    return FileStats(
        path="runs/vit.wpool",
        format="wpool",
        file_bytes=408,
        header_bytes=200,
        working_parameters=68,
        free_parameters=52,
        backing_parameters=48,
        kept_parameters=4,
        ratio=68 / 52,
        inflated_bytes=272,
        zero_copy_bytes=144,
        copied_bytes=128,
        pools=(
            PoolStats("q", "global", "float32", (), 16, 16, 1.0, 64, 1, 0, 0, True),
            PoolStats("mlp", "global", "float32", (), 32, 48, 1.5, 128, 2, 0, 0, True),
        ),
        tensors=tensors,
    )


@pytest.fixture
def computed(packed: FileStats) -> FileStats:
    """The same with two pools that have to be computed, and what loading took."""
    q, mlp = packed.pools
    shuffled = replace(mlp, technique="layered", random_accesses=16, zero_copy=False)
    squared = replace(
        mlp, name="out", technique="smh", multiplications=2401, zero_copy=False
    )
    load = LoadStats(1, 48, 1, 32, 1, 192, 0.0023, 204, 0, 0.0, "mmap", 0.0123456)
    return replace(packed, pools=(q, shuffled, squared), load=load)


@pytest.fixture
def coded(packed: FileStats) -> FileStats:
    """The same with a pool that is pruned, quantised and entropy-coded, and the bias
    cast."""
    q, mlp = packed.pools
    steps = (("", 128), ("prune", 90), ("int", 50), ("zstd", 41))
    small = replace(
        mlp,
        codecs=("prune", "int", "zstd"),
        stored_bytes=41,
        decoded_bytes=128,
        stages=tuple(StageStats(*step) for step in steps),
        entropy_bytes=40,
    )
    cast = (StageStats("", 16), StageStats("bfloat16", 8))
    group = GroupStats("float32", ("bfloat16",), 1, 4, 8, 16, cast, 4)
    first, second, bias, alias = packed.tensors
    return replace(
        packed,
        file_bytes=313,
        pools=(q, small),
        tensors=(
            replace(first, stored_bytes=77),
            replace(second, stored_bytes=28),
            replace(bias, stored_bytes=8, codecs=("bfloat16",)),
            alias,
        ),
        groups=(group,),
        decoded_bytes=144,
        load=LoadStats(3, 208, 1, 32, 0, 0, 0.0, 12, 144, 0.0015, "memfd", 0.0123456),
    )


@pytest.fixture
def plain() -> FileStats:
    """A plain checkpoint of one matrix."""
    return FileStats(
        path="runs/vit.safetensors",
        format="safetensors",
        file_bytes=4_000_000,
        header_bytes=96,
        working_parameters=999_976,
        free_parameters=999_976,
        backing_parameters=0,
        kept_parameters=999_976,
        ratio=1.0,
        inflated_bytes=3_999_904,
        zero_copy_bytes=3_999_904,
        copied_bytes=0,
        pools=(),
        tensors=(
            TensorStats("w", (999_976, 1), "float32", "kept", (), 3_999_904, True),
        ),
    )


@pytest.fixture
def plan() -> Plan:
    """One pool of 12 backing weights that two matrices of 8 read, the second round the
    end."""
    infos = [TensorInfo(f"blocks.{i}.fc.weight", FLOAT32, (2, 4)) for i in range(2)]
    slices = tuple(
        Slice(info.name, info.shape, 0, 8, "", 8 * i, 8) for i, info in enumerate(infos)
    )
    technique = techniques.named("global")()
    return Plan(
        pools=(PoolPlan("mlp", technique, FLOAT32, SliceTable(12, slices)),),
        tensors=tuple(
            TensorPlan(info, ((0, piece),))
            for info, piece in zip(infos, slices, strict=True)
        ),
        alignment=64,
    )
