"""Planning: budgets, rounding, and the same plan every time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.blobs import chain_of, needs
from tests.strategies import block_lists, poolable
from wpack.errors import PlanError
from wpack.plan import Plan
from wpack.plan_reader import read_plan
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.table import Block
from wpack.tensors import BY_NAME, DType, TensorInfo

FLOAT32 = BY_NAME["float32"]


def infos_of(*shapes: tuple[int, ...], dtype: DType = FLOAT32) -> list[TensorInfo]:
    """Tensors w0, w1, … of these shapes."""
    return [TensorInfo(f"w{i}", dtype, shape) for i, shape in enumerate(shapes)]


def planned(pool: str, infos: list[TensorInfo]) -> Plan:
    """The plan of one pool over all tensors, its other keys in flow YAML."""
    text = f'{{version: 1, pools: {{main: {{tensors: ["*"], {pool}}}}}}}'
    return make_plan(parse(text), infos).plan


@pytest.mark.parametrize(
    ("size", "backing"),
    [
        ("ratio: 1", 96),
        ("ratio: 2", 48),
        ("ratio: 2.5", 48),  # floor(38.4), then up to a multiple of 64 bytes
        ("size: 32", 32),
        ("size: 1_6", 16),
        ("bytes: 128", 32),
        ("bytes: 130", 32),
    ],
)
def test_sizes(size: str, backing: int) -> None:
    """By ratio, by weights, by bytes; rounded up where a slice wraps."""
    plan = planned(size, infos_of((4, 8), (8, 8)))

    assert plan.pools[0].backing == backing


def test_a_pool_that_does_not_wrap_is_not_rounded() -> None:
    """Only a wrap needs whole pages."""
    plan = planned("ratio: 2", infos_of((3, 3), (3, 3)))

    assert plan.pools[0].backing == 9


def test_large_pools_are_rounded_to_64_kib() -> None:
    """From 16 MiB on, what wraps is a multiple of 64 KiB."""
    plan = planned("ratio: 1.5", infos_of((4000, 1000), (4001, 1000)))

    assert plan.alignment == 65536
    assert plan.pools[0].table.wraps
    assert plan.pools[0].nbytes % 65536 == 0
    assert 0 <= plan.pools[0].nbytes - 8_001_000 // 1.5 * 4 < 65536


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("size: 97", "pool 'main': 97 backing weights are asked for 96 working weights."
         " Choose from 1 to 96"),
        ("bytes: 3", "pool 'main': 0 backing weights are asked for 96 working weights."
         " Choose from 1 to 96"),
    ],
)  # fmt: skip
def test_y10_impossible_sizes(size: str, message: str) -> None:
    """A pool is neither empty nor larger than what it replaces."""
    with pytest.raises(PlanError) as caught:
        planned(size, infos_of((4, 8), (8, 8)))

    assert message == str(caught.value)


def test_a_techniques_refusal_names_the_pool() -> None:
    """The rule is the technique's, the place is the spec's."""
    with pytest.raises(PlanError) as caught:
        planned("ratio: 2, placement: pack", infos_of((4, 8), (8, 8)))

    assert str(caught.value).startswith("pool 'main': placement pack: w1 has 64 ")


@given(block_lists(), poolable, st.floats(1, 8))
def test_plans_are_the_same_and_round_trip(
    blocks: list[Block], dtype: DType, ratio: float
) -> None:
    """Twice the same text, and what a file records is the plan."""
    infos = [TensorInfo(b.tensor, dtype, b.shape) for b in blocks]
    plan = planned(f"ratio: {ratio!r}", infos)

    assert plan == planned(f"ratio: {ratio!r}", infos)
    assert plan == read_plan(plan.to_json())
    assert plan.pools[0].working == sum(b.numel for b in blocks)


@given(block_lists(min_size=2), st.floats(1, 8))
def test_ties_within_a_layer_are_the_last_resort(
    blocks: list[Block], ratio: float
) -> None:
    """A tensor meets itself only where it is longer than its whole pool."""
    infos = [TensorInfo(b.tensor, FLOAT32, b.shape) for b in blocks]
    pool = planned(f"ratio: {ratio!r}", infos).pools[0]
    for piece in pool.table.slices:
        read = [(piece.start + i) % pool.backing for i in range(piece.length)]

        assert len(set(read)) == min(piece.numel, pool.backing)


def test_split_tensors_are_tiled_by_their_parts() -> None:
    """Each part reads its own pool; the pieces stand in the tensor's order."""
    spec = parse(
        """
version: 1
split: {"qkv": [q, k, v]}
pools:
  values: {tensors: ["qkv#v"], ratio: 1}
  rest: {tensors: ["qkv#q", "qkv#k"], ratio: 2}
"""
    )
    plan = make_plan(spec, [TensorInfo("qkv", FLOAT32, (6, 4))]).plan
    (tensor,) = plan.tensors

    assert [(plan.pools[i].name, s.part, s.first) for i, s in tensor.pieces] == [
        ("rest", "q", 0),
        ("rest", "k", 8),
        ("values", "v", 16),
    ]


@needs("int, zstd")
def test_codecs_come_from_the_spec() -> None:
    """Of pools, and of groups of kept tensors."""
    spec = parse(
        """
version: 1
pools: {main: {tensors: [w0], ratio: 1, codecs: [int: 4, zstd]}}
keep_codecs: {"w[12]": [int]}
"""
    )
    plan = make_plan(spec, infos_of((4, 8), (3, 3), (5,), (7,))).plan

    assert plan.pools[0].chain == chain_of("int: 4, zstd")
    assert plan.group_chains == (chain_of("int"),)
    assert [t.group for t in plan.tensors] == [None, 0, 0, None]
    assert [info.name for info in plan.groups[0].infos] == ["w1", "w2"]
    assert plan == read_plan(plan.to_json())


def test_no_codecs_are_none() -> None:
    """An empty list plans what no list does."""
    infos = infos_of((4, 8), (8, 8))

    assert planned("ratio: 2, codecs: []", infos) == planned("ratio: 2", infos)


@needs("zstd")
def test_coded_pools_do_not_align_a_file() -> None:
    """Nothing of theirs is mapped; but where one wraps, it fills the pages that it will
    be decoded to, which its own size says."""
    text = """
version: 1
pools:
  large: {{tensors: [w0, w1], ratio: 1.5, codecs: {}}}
  small: {{tensors: [w2, w3], ratio: 1.5}}
"""
    infos = infos_of((4000, 1000), (4001, 1000), (6, 6), (7, 6))
    coded = make_plan(parse(text.format("[zstd]")), infos).plan
    plain = make_plan(parse(text.format("[]")), infos).plan

    assert (coded.alignment, plain.alignment) == (64, 65536)
    assert all(pool.table.wraps for pool in coded.pools)
    assert coded.pools[0].nbytes % 65536 == 0
    assert [pool.backing for pool in coded.pools] == [5341184, 64]
    assert coded.pools[0].table == plain.pools[0].table
