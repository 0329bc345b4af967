"""The starter spec: it parses, resolves, and stays right when uncommented."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack.errors import CheckpointError
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.spec import FinetuneSpec, claims, parse, starter
from wpack.tensors import BY_NAME, TensorInfo


def info(name: str, *shape: int, dtype: str = "float32") -> TensorInfo:
    """A tensor of a checkpoint."""
    return TensorInfo(name, BY_NAME[dtype], shape)


def vit() -> list[TensorInfo]:
    """Three blocks with fused qkv, and what stands around them."""
    found = [info("patch.weight", 32, 16), info("position", 1, 17, 32)]
    for i in range(3):
        found += [
            info(f"blocks.{i}.norm1.weight", 32),
            info(f"blocks.{i}.attn.qkv.weight", 96, 32),
            info(f"blocks.{i}.attn.proj.weight", 32, 32),
            info(f"blocks.{i}.mlp.fc1.weight", 64, 32),
            info(f"blocks.{i}.mlp.fc2.weight", 32, 64),
            info(f"blocks.{i}.gate.weight", 1, 4),
        ]
    return [*found, info("head.weight", 10, 32), info("steps", dtype="int64")]


def uncommented(text: str, section: str) -> str:
    """The text with one of its commented sections in force."""
    return re.sub(
        rf"^# {section}:\n(#   .*\n)+",
        lambda found: re.sub(r"^# ", "", found[0], flags=re.MULTILINE),
        text,
        flags=re.MULTILINE,
    )


def plan(text: str, infos: list[TensorInfo]) -> Plan:
    """The plan of a starter."""
    return make_plan(parse(text), infos).plan


def test_the_starter_of_a_transformer() -> None:
    """One pool a role; what is not repeated or too small is listed as kept."""
    text = starter(vit(), "vit.safetensors")

    assert """\
# Pool spec for vit.safetensors
# 26,061 weights in 22 tensors, 104 kB.
# `wpack plan CHECKPOINT -s SPEC` shows what this comes to.

version: 1

# A fused weight can be cut along dim 0 into parts that have pools of their own: take
# the # away, and claim "blocks.*.attn.qkv.weight#q" and so on, in three pools.
# split:
#   "blocks.*.attn.qkv.weight": [q, k, v]

# Tensors of one role share backing weights.  Size: ratio (working weights for each
# backing weight), or size: 1.5M (backing weights), or bytes: 4MiB.  A pool can be
# stored in fewer bits a weight: codecs: [int: 4, zstd].
pools:
  # 3 tensors of 96x32: 9,216 weights, 35.4% of the model;
  # 36.9 kB of float32, half of that at ratio 2.
  attn_qkv:
    technique: global
    tensors: ["blocks.*.attn.qkv.weight"]
    ratio: 2.0
""" == text[: text.index("  # 3 tensors of 32x32")]
    assert """
# What no pool claims is stored as it is, and so is everything of rank below 2 (biases,
# norms).  `keep: ["head.*"]` shields tensors from wide patterns; `keep_codecs: {"*":
# [int, zstd]}` stores those that match together, in fewer bits.
# Not claimed here:
#   "patch.weight": 512 weights
#   "position": 544 weights
#   "blocks.*.gate.weight": 12 weights
#   "head.weight": 320 weights
""" == text[text.index("\n# What no pool") : text.index("\n# To train")]
    spec = parse(text)
    assert ["attn_qkv", "attn_proj", "mlp_fc1", "mlp_fc2"] == list(spec.pools)
    assert [3, 3, 3, 3] == [len(p.table.slices) for p in plan(text, vit()).pools]


def test_its_comments_can_be_put_in_force() -> None:
    """A split that stays pooled, and a recipe that is the default."""
    text = starter(vit(), "vit.safetensors")
    split = uncommented(text, "split")
    trained = uncommented(text, "finetune")

    assert 9 == len(claims(parse(split), vit()).pools["attn_qkv"])
    assert 4 == len(plan(split, vit()).pools)
    recipe = parse(trained).finetune
    assert recipe is not None
    assert recipe.task is not None
    assert FinetuneSpec(task=recipe.task) == recipe


def test_a_glob_that_meets_another_role_becomes_a_regex() -> None:
    """``layers.*.weight`` would claim ``layers.0.attn.weight`` too."""
    infos = [
        info(f"layers.{i}.{n}", 4, 4) for i in range(2) for n in ("weight", "a.weight")
    ]
    text = starter(infos, "x")

    assert [("re:layers\\.[0-9]+\\.weight",), ("layers.*.a.weight",)] == [
        pool.tensors for pool in parse(text).pools.values()
    ]
    assert [2, 2] == [len(p.table.slices) for p in plan(text, infos).pools]


def test_dtypes_of_one_role_are_pooled_apart() -> None:
    """By name, since no pattern tells them apart."""
    infos = [
        info(f"a.{i}.w", 4, 4, dtype="bfloat16" if i < 2 else "float32")
        for i in range(4)
    ]
    pools = parse(starter(infos, "x")).pools

    assert {"a_w": ("a.0.w", "a.1.w"), "a_w_2": ("a.2.w", "a.3.w")} == {
        name: pool.tensors for name, pool in pools.items()
    }


def test_what_is_kept_is_listed_to_a_point() -> None:
    """The largest model's sizes have a unit, and its list an end."""
    infos = [info(f"h.{i}.w", 1 << 15, 1 << 15) for i in range(2)]
    kept = [info(f"{letter}.x", 2, 3) for letter in "abcdefgijklmnopqrstuvw"]
    text = starter([*infos, *kept], "x")

    assert "# 2,147,483,780 weights in 24 tensors, 8.59 GB.\n" in text
    assert '#   "u.x": 6 weights\n#   … and 2 more\n' in text
    assert "v.x" not in text


def test_a_model_without_blocks_is_one_pool() -> None:
    """Where no role is repeated, all matrices share."""
    infos = [info("fc1.weight", 8, 8), info("fc2.weight", 8, 8), info("fc1.bias", 8)]
    spec = parse(starter(infos, "x"))

    assert {"main": ("*",)} == {name: pool.tensors for name, pool in spec.pools.items()}
    assert 2 == len(plan(spec.text, infos).pools[0].table.slices)


def test_a_single_matrix_is_a_pool() -> None:
    """It shares with itself."""
    assert {"main": ("w",)} == {
        name: pool.tensors
        for name, pool in parse(starter([info("w", 8, 8)], "x")).pools.items()
    }


def test_any_name_makes_a_pool_name() -> None:
    """Names of other letters, and none at all."""
    infos = [
        info(f"{name}.{i}", 8, 8) for name in ("weight", "é.ü", "") for i in (0, 1)
    ]

    assert ["main", "___", "main_2"] == list(parse(starter(infos, "x")).pools)


def test_stacks_along_dim_1_are_not_offered_to_cut() -> None:
    """GPT-2's c_attn has its parts side by side in every row."""
    infos = [info(f"h.{i}.attn.c_attn.weight", 48, 144) for i in range(2)]

    assert "split" not in starter(infos, "x")


@pytest.mark.parametrize(
    "infos", [[], [info("a", 3), info("b", 2, 2, dtype="int8"), info("c", 0, 2)]]
)
def test_nothing_to_pool(infos: list[TensorInfo]) -> None:
    """There is no starter for a checkpoint without matrices."""
    with pytest.raises(CheckpointError) as refused:
        starter(infos, "x.safetensors")

    assert str(refused.value) == (
        "x.safetensors: no tensor that a pool could hold: none is of rank 2 or more and"
        " of a float dtype"
    )


words = st.sampled_from(
    ["a", "weight", "0", "17", "qkv", "*", "[a]", "re:", "#", "#q", "é", "\n", "'", ""]
)
names = st.lists(words, min_size=1, max_size=4).map(".".join)
tensors = st.builds(
    info,
    names.filter(bool),
    st.integers(1, 9),
    st.integers(1, 9),
    dtype=st.sampled_from(["float32", "bfloat16", "int64"]),
)


@given(st.lists(tensors, min_size=1, max_size=8, unique_by=lambda i: i.name), names)
def test_any_starter_resolves(infos: list[TensorInfo], filename: str) -> None:
    """Whatever tensors are called, and with its split in force too."""
    try:
        text = starter(infos, filename)
    except CheckpointError:
        assert not any(i.dtype.poolable for i in infos)
        return

    assert all(plan(text, infos).pools)
    assert all(claims(parse(uncommented(text, "split")), infos).pools.values())
