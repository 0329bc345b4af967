"""Projection and expansion: streaming, repair, and exact round trips."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import block_lists, poolable
from wpack import pool as pools
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.pool import FLOOR, cast, project, stored, straight, working_blocks
from wpack.spec import parse
from wpack.table import Block
from wpack.tensors import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    DType,
    TensorInfo,
    from_float,
    sum_dtype,
    to_float,
)


def plan_of(blocks: list[Block], dtype: DType, ratio: float) -> Plan:
    """One global pool over all blocks."""
    text = f'{{version: 1, pools: {{main: {{tensors: ["*"], ratio: {ratio!r}}}}}}}'
    return make_plan(
        parse(text), [TensorInfo(b.tensor, dtype, b.shape) for b in blocks]
    ).plan


def weights_of(plan: Plan, seed: int) -> dict[str, np.ndarray]:
    """Random raw weights for every tensor."""
    random = np.random.default_rng(seed)
    return {
        t.name: from_float(random.standard_normal(t.info.numel), t.info.dtype)
        for t in plan.tensors
    }


def reading(weights: dict[str, np.ndarray]) -> pools.Read:
    """A checkpoint's reader over arrays."""
    return lambda name, first, numel: weights[name][first : first + numel]


@given(block_lists(), poolable, st.floats(1, 4), st.integers(0, 99))
def test_projection_is_the_mean(
    blocks: list[Block], dtype: DType, ratio: float, seed: int
) -> None:
    """Each backing weight is the mean of what np.add.at gathers for it."""
    plan = plan_of(blocks, dtype, ratio)
    weights = weights_of(plan, seed)
    pool = plan.pools[0]
    sums, counts = np.zeros(pool.backing), np.zeros(pool.backing)
    for piece in pool.table.slices:
        index = (piece.start + np.arange(piece.length)) % pool.backing
        np.add.at(sums, index, to_float(weights[piece.tensor], dtype))
        np.add.at(counts, index, 1)
    found = project(plan, reading(weights)).values["main"]

    assert found.dtype == sum_dtype(dtype)
    np.testing.assert_allclose(
        found, sums / np.maximum(counts, 1), rtol=1e-4, atol=1e-6
    )


@given(block_lists(), st.floats(1, 4), st.integers(0, 99))
def test_block_size_does_not_matter(
    blocks: list[Block], ratio: float, seed: int
) -> None:
    """Streaming in stretches of three gives the same bits as whole tensors."""
    plan = plan_of(blocks, FLOAT32, ratio)
    weights = weights_of(plan, seed)
    whole = project(plan, reading(weights)).values["main"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wpack.tensors.BLOCK", 3)
        pieces = project(plan, reading(weights)).values["main"]

    assert whole.tobytes() == pieces.tobytes()


@given(block_lists(), st.floats(1, 4), st.integers(0, 99))
def test_rms_repair(blocks: list[Block], ratio: float, seed: int) -> None:
    """What the repaired pool makes has the root mean square of what it replaced, and
    is the plain projection times one number."""
    plan = plan_of(blocks, FLOAT32, ratio)
    weights = weights_of(plan, seed)
    plain = project(plan, reading(weights)).values["main"]
    repaired = project(plan, reading(weights), {"main": "rms"}).values["main"]
    raw = from_float(repaired, FLOAT32)
    made = np.concatenate(
        [
            block
            for piece in plan.pools[0].table.slices
            for block in working_blocks(plan.pools[0], piece, raw, FLOAT32)
        ]
    )
    given = np.concatenate(list(weights.values()))

    np.testing.assert_allclose(np.mean(made**2), np.mean(given**2), rtol=1e-4)
    scale = np.linalg.norm(repaired) / np.linalg.norm(plain)
    np.testing.assert_allclose(repaired, plain * scale, rtol=1e-5)


@given(block_lists(), poolable, poolable, st.floats(1, 4), st.integers(0, 99))
def test_working_blocks_are_the_circular_read(
    blocks: list[Block], dtype: DType, to: DType, ratio: float, seed: int
) -> None:
    """Bit for bit np.take of the pool, cast where the tensor's dtype is another."""
    plan = plan_of(blocks, dtype, ratio)
    pool = plan.pools[0]
    random = np.random.default_rng(seed)
    raw = from_float(random.standard_normal(pool.backing), dtype)
    for piece in pool.table.slices:
        index = (piece.start + np.arange(piece.length)) % pool.backing
        made = np.concatenate(list(working_blocks(pool, piece, raw, to)))

        assert made.tobytes() == cast(raw[index], dtype, to).tobytes()
        assert straight(pool, piece, raw).tobytes() == raw[index].tobytes()


def test_stored_rounds_to_the_pools_dtype() -> None:
    """Blocks of the pool, in its own bits."""
    plan = plan_of([Block("w", (4, 4), 0, 16, "")], BFLOAT16, 1.0)
    values = np.linspace(-1, 1, 16, dtype="<f4")
    (block,) = stored(plan.pools[0], values)

    assert block.tobytes() == from_float(values, BFLOAT16).tobytes()


def test_c10_non_finite_weights_are_counted() -> None:
    """NaN and infinities are noted by tensor; the repair leaves such a pool alone."""
    blocks = [Block("a", (2, 2), 0, 4, ""), Block("b", (2, 2), 0, 4, "")]
    plan = plan_of(blocks, FLOAT16, 1.0)
    weights = weights_of(plan, 0)
    weights["b"][:3] = [np.nan, np.inf, -np.inf]
    backing = project(plan, reading(weights), {"main": "rms"})

    assert backing.non_finite == {"b": 3}
    assert backing.values["main"][:4].tolist() == weights["a"].tolist()


def test_subnormals_and_negative_zero_survive_at_ratio_1() -> None:
    """Untied weights come back with their bits."""
    plan = plan_of([Block("w", (2, 2), 0, 4, "")], FLOAT32, 1.0)
    weights = {"w": np.array([1e-45, -1e-40, -0.0, 3.4e38], "<f4")}
    found = project(plan, reading(weights)).values["main"]

    assert found.tobytes() == weights["w"].tobytes()


def two_on_one(technique: str = "global") -> Plan:
    """Tensors a and b of four weights, all on the same four backing weights."""
    text = f"""
version: 1
pools: {{main: {{technique: {technique}, tensors: [a, b], size: 4}}}}
"""
    infos = [TensorInfo(name, FLOAT32, (2, 2)) for name in "ab"]
    return make_plan(parse(text), infos).plan


def test_weighted_mean_by_hand() -> None:
    """(3·F + 1·G) / (F + G), where each has the floor on top: a hundredth of the mean
    cost, which is 2 here; where nothing was ever seen to matter it is the plain mean.
    """
    weights = {
        "a": np.array([3, 3, 3, 3], "<f4"),
        "b": np.array([1, 1, 1, 1], "<f4"),
    }
    costs = {"a": np.array([8, 0, 4, 0], "<f4"), "b": np.array([0, 0, 4, 0], "<f4")}
    found = project(two_on_one(), reading(weights), costs={"main": costs})
    low = FLOOR * 2
    first = (3 * (8 + low) + low) / (8 + 2 * low)

    assert [first, 2, 2, 2] == pytest.approx(found.values["main"].tolist())
    assert "<f4" == found.values["main"].dtype


def test_weighted_mean_of_no_costs_is_the_mean() -> None:
    """Costs of zero everywhere leave the plain mean."""
    plan = two_on_one()
    weights = weights_of(plan, 3)
    costs = {name: np.zeros(4, "<f4") for name in "ab"}
    expected = project(plan, reading(weights)).values["main"]
    found = project(plan, reading(weights), costs={"main": costs}).values["main"]

    assert expected.tolist() == pytest.approx(found.tolist())


@pytest.mark.parametrize("technique", ["global", "hashed", "layered"])
@given(seed=st.integers(0, 99))
def test_weighted_mean_has_the_least_weighted_error(technique: str, seed: int) -> None:
    """No pool that differs in one place by a little has a smaller Σ cost · error²."""
    plan = two_on_one(technique)
    random = np.random.default_rng(seed)
    weights = weights_of(plan, seed)
    costs = {name: random.exponential(size=4).astype("<f4") for name in "ab"}
    floor = FLOOR * float(np.mean([costs["a"], costs["b"]]))
    found = project(plan, reading(weights), costs={"main": costs}).values["main"]
    pool = plan.pools[0]

    def error(values: np.ndarray) -> float:
        total = 0.0
        for piece in pool.table.slices:
            range_ = straight(pool, piece, values)
            made = pool.technique.expand(np, pool.table, piece, range_)
            wrong = (made - weights[piece.tensor]) ** 2
            total += float((wrong * (costs[piece.tensor] + floor)).sum())
        return total

    least = error(found.astype("<f8"))
    for place in range(len(found)):
        for step in (-1e-3, 1e-3):
            moved = found.astype("<f8")
            moved[place] += step
            assert least <= error(moved)


@given(block_lists(), poolable, st.integers(0, 99))
def test_weight_that_is_read_alone_keeps_its_bits(
    blocks: list[Block], dtype: DType, seed: int
) -> None:
    """Weighted or not, a pool of ratio 1 holds the checkpoint's weights exactly."""
    plan = plan_of(blocks, dtype, 1)
    weights = weights_of(plan, seed)
    random = np.random.default_rng(seed)
    costs = {t.name: random.exponential(size=t.info.numel) for t in plan.tensors}
    expected = project(plan, reading(weights)).values["main"]
    found = project(plan, reading(weights), costs={"main": costs}).values["main"]

    assert np.array_equal(expected, found) or dtype.name == "float64"
    assert expected.tolist() == pytest.approx(found.tolist(), rel=1e-14)
