"""What cannot be claimed, and how a user is told."""

from __future__ import annotations

import pytest

from tests.spec.transformer import SPLIT, info, pool, problems


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            pool("'*.qvk.weight'"),
            "2:23: pools.p.tensors.0: '*.qvk.weight' matches no tensor, did you mean"
            " 'blocks.*.qkv.weight'?",
        ),
        (
            pool("blocks.0.mpl.weight"),
            "2:23: pools.p.tensors.0: 'blocks.0.mpl.weight' matches no tensor, did you"
            " mean 'blocks.0.mlp.weight'?",
        ),
        (
            pool("'*', 're:zzz'"),
            "2:28: pools.p.tensors.1: 're:zzz' matches no tensor",
        ),
        (
            pool("'*'") + "keep: [haed.weight]",
            "3:8: keep.0: 'haed.weight' matches no tensor, did you mean 'head.weight'?",
        ),
        (
            pool("'*'") + "split: {zzz: [a, b]}",
            "3:14: split.zzz: 'zzz' matches no tensor",
        ),
        (
            pool("'*.mlp.weight'") + "keep: ['*.mlp.*']",
            "2:23: pools.p.tensors.0: '*.mlp.weight' claims nothing: its matches are"
            " under keep (2)",
        ),
        (
            pool("'*.qkv.weight#q'"),
            "2:23: pools.p.tensors.0: no part 'q' in 'blocks.0.qkv.weight' and 1 more:"
            " no split pattern makes one",
        ),
        (
            SPLIT + pool("'*.qkv.weight', '*.qkv.weight#x'"),
            "3:39: pools.p.tensors.1: no part 'x' in 'blocks.0.qkv.weight' and 1 more:"
            " the parts are q, k, v",
        ),
        (
            SPLIT + pool("'*.qkv.weight#q', '*.qkv.weight#v'"),
            "2:25: split.\"*.qkv.weight\": no pool claims k of 'blocks.0.qkv.weight'"
            " and 1 more, but pools claim the rest",
        ),
        (
            pool("'*'") + "split: {'*.qkv.weight': [a, b, c, d, e]}",
            "3:25: split.\"*.qkv.weight\": 'blocks.0.qkv.weight' has 12 rows, not 5"
            " equal parts (and so for 1 more)",
        ),
        (
            pool("'*'") + "split: {embed.weight: {a: 4, b: 5}}",
            "3:23: split.\"embed.weight\": 'embed.weight' has 10 rows, its parts have"
            " 9",
        ),
        (
            pool("'*'") + "split: {'*.qkv.*': [a, b], '*.0.qkv.weight': [c, d]}",
            "3:46: split.\"*.0.qkv.weight\": 'blocks.0.qkv.weight' is cut by '*.qkv.*'"
            " too",
        ),
        (
            "pools: {a: {tensors: ['*.0.*'], ratio: 2},"
            " b: {tensors: ['*.mlp.*', 'blocks.0.q*'], ratio: 2}}",
            "2:58: pools.b.tensors.0: '*.mlp.*' claims 'blocks.0.mlp.weight', which"
            " pool 'a' has",
        ),
    ],
)
def test_what_is_wrong_with_a_claim(body: str, expected: str) -> None:
    """Told at the pattern, with the first tensor and the number of others."""
    assert f"s:{expected}" == problems(body)[0]


def test_scalars_cannot_be_cut() -> None:
    """They have no rows."""
    infos = [info("a"), info("b", 2, 2)]

    assert ["s:3:14: split.*: 'a' is a scalar, it has no rows to cut"] == problems(
        pool("b") + "split: {'*': [x, y]}", infos
    )


def test_all_problems_come_at_once() -> None:
    """Of every kind, in the order of the file, and none that follows from another."""
    body = """\
split:
  "*.qkv.weight": [q, k, v, w, x]
pools:
  a: {tensors: ["*.qkv.weight#q", "zzz"], ratio: 2}
  b: {tensors: ["*.mlp.*"], ratio: 2}
  c: {tensors: ["blocks.1.*", "*.norm.weight"], ratio: 2}
keep: [yyy]
"""
    expected = [
        "3:19: split.\"*.qkv.weight\": 'blocks.0.qkv.weight' has 12 rows, not 5 equal"
        " parts (and so for 1 more)",
        "5:35: pools.a.tensors.1: 'zzz' matches no tensor",
        "7:17: pools.c.tensors.0: 'blocks.1.*' claims 'blocks.1.mlp.weight', which pool"
        " 'b' has",
        "7:31: pools.c.tensors.1: '*.norm.weight' claims nothing: its matches are of"
        " rank below 2 and not named in full (2)",
        "8:8: keep.0: 'yyy' matches no tensor",
    ]

    assert [f"s:{problem}" for problem in expected] == problems(body)


def test_a_runaway_expression_is_named() -> None:
    """Alone: what the others match is not known."""
    infos = [info("a" * 64, 2, 2)]

    assert [
        "s:2:28: pools.p.tensors.1: 're:(a+)+b' takes over 1 s to match"
    ] == problems(pool("'z', 're:(a+)+b'"), infos)
