"""Which kept tensors are stored together by codecs."""

from __future__ import annotations

import pytest

from tests.blobs import needs
from tests.spec.transformer import info, pool, problems, resolve, vit

POOL = pool("'*.mlp.weight'")


def groups(codecs: str) -> dict[str, int]:
    """Tensor → group, of a transformer whose mlps are pooled."""
    return dict(resolve(f"{POOL}keep_codecs: {{{codecs}}}\n").groups)


@needs("int")
def test_a_pattern_is_a_group() -> None:
    """Of kept tensors of any rank, in the order of the patterns."""
    found = groups("'*.norm.weight': [int], '*.qkv.weight': [int]")

    assert found == {
        "blocks.0.norm.weight": 0,
        "blocks.1.norm.weight": 0,
        "blocks.0.qkv.weight": 1,
        "blocks.1.qkv.weight": 1,
    }


@needs("int")
def test_a_glob_passes_over_what_is_not_kept_or_no_codec_stores() -> None:
    """What pools make, aliases, integers."""
    found = groups("'*': [int]")
    infos = {i.name: i for i in vit()}

    assert set(found.values()) == {0}
    assert found.keys() == {
        name
        for name, each in infos.items()
        if each.alias_of is None and ".mlp." not in name and each.dtype.poolable
    }


@needs("int")
@pytest.mark.parametrize(
    ("codecs", "expected"),
    [
        (
            "'*.norn.weight': [int]",
            "'*.norn.weight' matches no tensor, did you mean 'blocks.*.norm.weight'?",
        ),
        (
            "'*.mlp.*': [int]",
            "'*.mlp.*' claims nothing: its matches are made from pool 'p' (2)",
        ),
        (
            "embed.ids: [int]",
            "'embed.ids' claims nothing: the tensor is of dtype int64, which no codec"
            " stores",
        ),
        (
            "head.weight: [int]",
            "'head.weight' claims nothing: the tensor is the same memory as"
            " 'embed.weight'",
        ),
    ],
)
def test_what_claims_nothing(codecs: str, expected: str) -> None:
    """Told at the pattern, as for pools."""
    (problem,) = problems(f"{POOL}keep_codecs: {{{codecs}}}\n")

    assert problem.endswith(f": {expected}")
    assert problem.startswith("s:3:")


@needs("int, zstd")
def test_two_patterns_for_one_tensor() -> None:
    """A tensor is stored once."""
    (problem,) = problems(
        f"{POOL}keep_codecs: {{'*.norm.weight': [int], 'blocks.0.*': [zstd]}}\n"
    )

    assert problem.endswith(
        "'blocks.0.*' claims 'blocks.0.norm.weight', which '*.norm.weight' has"
    )


@needs("int")
def test_a_group_has_one_dtype() -> None:
    """They are one array."""
    infos = [info("a", 2, 2), info("b", 3), info("c", 3, dtype="float16")]
    (problem,) = problems(f"{pool('a')}keep_codecs: {{'?': [int]}}\n", infos)

    assert problem.endswith(
        "keep_codecs.?: the tensors of '?' differ in dtype (float32 1, float16 1);"
        " write a pattern for each"
    )


@needs("int")
def test_tensors_without_elements_are_no_group() -> None:
    """There is nothing to store of them."""
    infos = [info("a", 2, 2), info("b", 0)]
    (problem,) = problems(f"{pool('a')}keep_codecs: {{b: [int]}}\n", infos)

    assert problem.endswith("'b' claims nothing: the tensor is without elements")
