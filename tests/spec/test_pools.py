"""What a pool may say, and what it says of what it may not."""

from __future__ import annotations

import dataclasses

import pytest

from tests.spec.spec_texts import LEAST, mistakes, with_pool
from wpack import techniques
from wpack.spec import PoolSpec, parse
from wpack.spec.pools import pool_model
from wpack.techniques import Technique


def pool(keys: str) -> PoolSpec:
    """The pool with these keys."""
    return parse(with_pool(keys)).pools["p"]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("size: 1_000_000", 1_000_000),
        ("size: 12", 12),
        ("size: 1.5M", 1_500_000),
        ("size: 64k", 64_000),
        ("size: '0.25 G'", 250_000_000),
        ("bytes: 4MiB", 4 << 20),
        ("bytes: 64KiB", 64 << 10),
        ("bytes: 1.5kB", 1500),
        ("bytes: 1_024", 1024),
        ("bytes: 0.5GiB", 1 << 29),
    ],
)
def test_sizes(keys: str, expected: int) -> None:
    """Sizes are exact whole numbers, in decimal or binary units."""
    made = pool(f"tensors: [a], {keys}")

    assert expected == (made.size or made.bytes)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("ratio: 0.5", "3:28: pools.p.ratio: should be 1 or more, not 0.5"),
        ("ratio: -1", "3:28: pools.p.ratio: should be 1 or more, not -1"),
        ("ratio: .nan", "3:28: pools.p.ratio: should be a finite number, not nan"),
        ("ratio: .inf", "3:28: pools.p.ratio: should be a finite number, not inf"),
        ("ratio: 1e999", "3:28: pools.p.ratio: should be a finite number, not inf"),
        ("ratio: '2'", "3:28: pools.p.ratio: should be a number, not '2'"),
        ("ratio: true", "3:28: pools.p.ratio: should be a number, not true"),
        ("ratio: 1_0", "3:28: pools.p.ratio: should be a number, not '1_0'"),
        ("ratio: [2]", "3:28: pools.p.ratio: should be a number, not a list"),
        ("size: 0", "3:27: pools.p.size: should be 1 or more, not 0"),
        ("size: 1.5", "3:27: pools.p.size: should be a whole number, not 1.5"),
        (
            "size: 4MiB",
            "3:27: pools.p.size: should be a size such as 1_000_000, 64k or 1.5M, not"
            " '4MiB'",
        ),
        (
            "bytes: 4M",
            "3:28: pools.p.bytes: should be a size such as 64KiB, 4MiB or 1.5GB, not"
            " '4M'",
        ),
        (
            "bytes: 0.3kiB",
            "3:28: pools.p.bytes: should be a size such as 64KiB, 4MiB or 1.5GB, not"
            " '0.3kiB'",
        ),
        (
            "bytes: 0.3KiB",
            "3:28: pools.p.bytes: should be a whole number of units, '0.3KiB' is not",
        ),
        (
            f"size: '{'9' * 41}M'",
            "3:27: pools.p.size: should be a size such as 1_000_000, 64k or 1.5M, not"
            f" '{'9' * 41}M'",
        ),
        (
            "size: 9000000G",
            "3:27: pools.p.size: should be 1000000000000000 or less, not"
            " 9000000000000000",
        ),
        (
            "repair: x, ratio: 2",
            "3:29: pools.p.repair: should be 'none' or 'rms', not 'x'",
        ),
        (
            "raito: 2, size: 1",
            "3:21: pools.p.raito: unknown key 'raito', did you mean 'ratio'?",
        ),
        (
            "zzz: 2, size: 1",
            "3:21: pools.p.zzz: unknown key 'zzz' (known: technique, tensors, ratio,"
            " size, bytes, dtype, codecs, repair, projection, placement, order,"
            " start)",
        ),
        (
            "placment: pack, size: 1",
            "3:21: pools.p.placment: unknown key 'placment', did you mean 'placement'?",
        ),
        (
            "placement: pak, size: 1",
            "3:32: pools.p.placement: should be 'ring', 'pack' or 'fold', not 'pak'",
        ),
        (
            "start: {x: 1.5}, size: 1",
            "3:32: pools.p.start.x: should be a whole number, not 1.5",
        ),
        (
            "technique: globl, size: 1",
            "3:32: pools.p.technique: unknown technique 'globl', did you mean"
            " 'global'?",
        ),
        (
            "dtype: bf16, size: 1",
            "3:28: pools.p.dtype: unknown pool dtype 'bf16', did you mean 'bfloat16'?",
        ),
        (
            "dtype: int8, size: 1",
            "3:28: pools.p.dtype: unknown pool dtype 'int8' (known: float64, float32,"
            " float16, bfloat16)",
        ),
        (
            "ratio: 2, size: 3",
            "3:3: pools.p: needs exactly one of ratio, size and bytes, has ratio and"
            " size",
        ),
        (
            "dtype: float32",
            "3:3: pools.p: needs exactly one of ratio, size and bytes, has none",
        ),
    ],
)
def test_what_a_pool_may_not_say(keys: str, expected: str) -> None:
    """One mistake, one message, at its place."""
    assert [f"s:{expected}"] == mistakes(with_pool(f"tensors: [a], {keys}"))


def test_an_unknown_technique_leaves_its_keys_alone() -> None:
    """Nobody knows which keys it would have; the common ones are checked."""
    expected = [
        "s:3:18: pools.p.technique: unknown technique 'zzz' (known: "
        + ", ".join(techniques.names())
        + ")",
        "s:3:56: pools.p.ratio: should be 1 or more, not 0",
    ]

    assert expected == mistakes(
        with_pool("technique: zzz, tensors: [a], m: 3, q: x, ratio: 0")
    )


@pytest.mark.parametrize("name", techniques.names())
def test_a_technique_needs_no_word_here(name: str) -> None:
    """Its dataclass's fields become the pool's keys, with their defaults, and clash
    with none."""
    made = pool(f"technique: {name}, tensors: [a], ratio: 2")
    technique = made.make_technique()

    assert techniques.named(name)() == technique
    own = {f.name for f in dataclasses.fields(techniques.named(name))}
    assert own.isdisjoint(PoolSpec.model_fields)
    assert own | PoolSpec.model_fields.keys() == pool_model(name).model_fields.keys()


def test_a_pool_makes_its_technique() -> None:
    """With the values of the pool's keys."""
    made = pool(
        "tensors: [a], ratio: 2, placement: fold, order: [b, '*'], start: {a: 3}"
    )
    expected = techniques.named("global")(  # type: ignore[call-arg]
        placement="fold", order=("b", "*"), start={"a": 3}
    )

    assert expected == made.make_technique()


def test_a_technique_may_refuse_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError of its ``__post_init__`` is a mistake in the spec."""

    def refuse(self: Technique, **options: object) -> None:
        raise ValueError("order and start cannot both be given")

    parse(LEAST)  # The pool's model is made from the technique as it is.
    monkeypatch.setattr(techniques.named("global"), "__init__", refuse)
    expected = ["s:3:6: pools.p: order and start cannot both be given"]

    assert expected == mistakes(with_pool("tensors: [a], ratio: 2"))


@pytest.mark.parametrize("technique", techniques.names())
def test_projection(technique: str) -> None:
    """Fisher information weights a mean; a technique that takes none says so."""
    keys = f"tensors: [a], ratio: 2, technique: {technique}, projection: fisher"
    if techniques.named(technique)().takes_mean:
        assert "fisher" == pool(keys).projection
    else:
        (mistake,) = mistakes(with_pool(keys))
        assert mistake.endswith(
            "projection: fisher weights a mean, and this technique takes none"
        )
    assert "mean" == pool("tensors: [a], ratio: 2").projection
