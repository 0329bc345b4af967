"""Specs against checkpoints: who claims what, and what cannot be claimed."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from tests.spec.transformer import SPLIT, info, pool, problems, resolve, vit
from wpack.errors import SpecError
from wpack.spec import claims, spec_from_ratio
from wpack.table import Block
from wpack.tensors import BFLOAT16, FLOAT32


def labels(blocks: tuple[Block, ...]) -> list[str]:
    """The blocks' names, as a spec has them."""
    return [block.label for block in blocks]


def test_a_glob_claims_what_can_be_pooled() -> None:
    """In checkpoint order, whatever the order of the patterns; the rest is kept."""
    found = resolve(pool("'*.mlp.*', 'blocks.*'"))

    assert [
        "blocks.0.qkv.weight",
        "blocks.0.mlp.weight",
        "blocks.1.qkv.weight",
        "blocks.1.mlp.weight",
    ] == labels(found.pools["p"])
    assert {"p": FLOAT32} == found.dtypes
    assert () == found.notes
    assert [t.name for t in vit()] == list(found.parts)
    assert (Block("embed.weight", (10, 4), 0, 40, ""),) == found.parts["embed.weight"]


def test_parts_are_blocks_along_dim_0() -> None:
    """Equal parts, one pool each: Split Pools."""
    found = resolve(
        SPLIT
        + "pools:\n"
        + "".join(
            f"  {part}: {{tensors: ['*.qkv.weight#{part}'], ratio: 2}}\n"
            for part in "qkv"
        )
    )

    assert ["blocks.0.qkv.weight#k", "blocks.1.qkv.weight#k"] == labels(
        found.pools["k"]
    )
    name = "blocks.0.qkv.weight"
    assert (
        Block(name, (4, 4), 0, 16, "q"),
        Block(name, (4, 4), 16, 16, "k"),
        Block(name, (4, 4), 32, 16, "v"),
    ) == found.parts[name]


def test_parts_by_rows() -> None:
    """Grouped-query attention has fewer rows for k and v."""
    found = resolve(
        "split: {'*.qkv.weight': {q: 8, k: 2, v: 2}}\n"
        + pool("'*.qkv.weight#q', '*.weight'")
    )

    assert [(0, 32), (32, 8), (40, 8)] == [
        (b.first, b.numel) for b in found.parts["blocks.1.qkv.weight"]
    ]
    assert "blocks.1.qkv.weight#v" in labels(found.pools["p"])


def test_a_pattern_without_part_claims_all_parts() -> None:
    """In the tensor's order."""
    found = resolve(SPLIT + pool("blocks.0.qkv.weight"))

    assert [f"blocks.0.qkv.weight#{part}" for part in "qkv"] == labels(found.pools["p"])


def test_rank_one_needs_its_full_name() -> None:
    """A wide glob never pools a norm; its own name does."""
    assert ["blocks.0.norm.weight", "blocks.0.mlp.weight"] == labels(
        resolve(pool("blocks.0.norm.weight, blocks.0.m*, re:blocks.*mlp.weight")).pools[
            "p"
        ]
    )[:2]
    assert [
        "s:2:23: pools.p.tensors.0: '*.norm.*' claims nothing: its matches are of"
        " rank below 2 and not named in full (2)"
    ] == problems(pool("'*.norm.*'"))


def test_keep_wins_over_patterns() -> None:
    """Even over a full name, if the pattern has other tensors."""
    found = resolve(pool("'blocks.*'") + "keep: ['*.qkv.*']")

    assert ["blocks.0.mlp.weight", "blocks.1.mlp.weight"] == labels(found.pools["p"])


def test_who_keeps_an_alias_keeps_the_tensor() -> None:
    """A tied head cannot stay while its embedding is pooled."""
    found = resolve(pool("'*'") + "keep: [head.weight]")

    assert "embed.weight" not in labels(found.pools["p"])


def test_an_alias_is_claimed_by_its_tensor_only() -> None:
    """Once, under the name it is stored by."""
    assert ["embed.weight"] == labels(resolve(pool("'*e*d.weight'")).pools["p"])
    assert [
        "s:2:23: pools.p.tensors.0: 'head.weight' claims nothing: the tensor is the"
        " same memory as 'embed.weight'"
    ] == problems(pool("head.weight"))


def test_an_alias_is_cut_by_its_tensor_only() -> None:
    """A split pattern that meets both cuts the memory once."""
    found = resolve("split: {'*e*d.weight': [q, k]}\n" + pool("'*'"))

    assert ["embed.weight#q", "embed.weight#k"] == labels(found.pools["p"])[:2]
    assert [""] == [block.part for block in found.parts["head.weight"]]


def test_other_dtypes_are_left_with_a_note() -> None:
    """A glob that sweeps in integers is no mistake; their full name is."""
    infos = [*vit(), info("cache.0", 2, 2, dtype="float8_e4m3fn")]
    found = resolve(pool("'*'"), infos)

    assert (
        "pool 'p' leaves out 'embed.ids' and 1 more: a pool cannot hold float8_e4m3fn,"
        " int64",
    ) == found.notes
    assert [
        "s:2:23: pools.p.tensors.0: 'embed.ids' claims nothing: the tensor is of dtype"
        " int64, which no pool holds"
    ] == problems(pool("embed.ids"))


def test_tensors_without_elements_are_kept() -> None:
    """There is nothing to pool in them."""
    infos = [info("a", 0, 4), info("b", 2, 2)]

    assert ["b"] == labels(resolve(pool("'*'"), infos).pools["p"])
    assert [
        "s:2:23: pools.p.tensors.0: 'a' claims nothing: the tensor is without elements"
    ] == problems(pool("a"), infos)


def test_one_dtype_a_pool() -> None:
    """Mixed tensors need a word on how to store them."""
    infos = [info("a", 2, 2), info("b", 2, 2, dtype="bfloat16"), info("c", 2, 2)]

    assert {"p": BFLOAT16} == resolve(pool("'*'", ", dtype: bfloat16"), infos).dtypes
    assert [
        "s:2:12: pools.p: its tensors differ in dtype (float32 2, bfloat16 1); say"
        " dtype: or make a pool for each"
    ] == problems(pool("'*'"), infos)


def test_the_spec_of_a_ratio_claims_matrices() -> None:
    """All of rank 2 and more, embeddings included."""
    found = claims(spec_from_ratio(2), vit())

    assert 5 == len(found.pools["main"])
    assert "embed.weight" == found.pools["main"][0].tensor


def test_ten_thousand_tensors_are_no_work() -> None:
    """A large model's spec resolves in a moment."""
    body = "".join(
        f"  p{i}: {{tensors: ['blocks.{i}.*'], ratio: 2}}\n" for i in range(50)
    )
    begin = time.perf_counter()
    found = resolve("pools:\n" + body, vit(2500)[:202])
    wide = resolve(pool("'*'"), vit(2500))

    assert (50, 5001) == (len(found.pools), len(wide.pools["p"]))
    assert time.perf_counter() - begin < 5


shapes = st.lists(st.integers(0, 12), max_size=3).map(tuple)


@given(
    st.lists(shapes, min_size=1, max_size=6),
    st.lists(
        st.sampled_from(["t.0", "t.1", "t.*", "*", "t.[024]#q", "*#k"]),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_claims_are_refused_or_whole(
    shapes: list[tuple[int, ...]], patterns: list[str], is_split: bool
) -> None:
    """Whatever comes: every tensor's blocks tile it, each block is in one pool at most,
    and a tensor's blocks are pooled all or not at all."""
    infos = [info(f"t.{i}", *shape) for i, shape in enumerate(shapes)]
    body = "pools:\n" + "".join(
        f"  p{i}: {{tensors: ['{text}'], ratio: 2}}\n"
        for i, text in enumerate(patterns)
    )
    split = "split: {'t.[024]': [q, k]}\n" if is_split else ""
    try:
        found = resolve(split + body, infos)
    except SpecError:
        return

    pooled = [b for blocks in found.pools.values() for b in blocks]
    assert len(pooled) == len(set(pooled))
    for tensor in infos:
        blocks = found.parts[tensor.name]
        ends = [0, *(b.first + b.numel for b in blocks)]
        assert ends == [*(b.first for b in blocks), tensor.numel]
        assert len({block in pooled for block in blocks}) == 1
    assert all(found.pools.values())
