"""Codecs in a spec: every way to write them, and what is wrong with the others."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blobs import chain_of, needs
from tests.spec.spec_texts import LEAST, mistakes, with_pool
from wpack import codecs
from wpack.codecs import Codec
from wpack.spec import PoolSpec, parse


def read(written: str) -> tuple[Codec, ...]:
    """What a pool's ``codecs`` mean."""
    keys = f"tensors: [a], ratio: 2, codecs: {written}"
    return parse(with_pool(keys)).pools["p"].codecs


@needs("int, prune, zstd")
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[]", {}),
        ("[int]", {"int": {}}),
        ("[{int: }]", {"int": {}}),
        ("[{int: {}}]", {"int": {}}),
        ("[{int: 4}]", {"int": {"bits": 4}}),
        ("[int: 4, zstd: 3]", {"int": {"bits": 4}, "zstd": {"level": 3}}),
        ("[{int: {block: 32}}]", {"int": {"block": 32}}),
        ("[prune: 0.5, int, zstd]", {"prune": {"share": 0.5}, "int": {}, "zstd": {}}),
        ("[prune: 0]", {"prune": {"share": 0.0}}),
    ],
)
def test_codecs_are_written_in_few_words(
    written: str, expected: dict[str, dict[str, Any]]
) -> None:
    """A name, its first field's value, or its fields."""
    assert tuple(codecs.named(n)(**f) for n, f in expected.items()) == read(written)


_KNOWN = ", ".join(codecs.names())


@needs("int, prune, zstd, float16")
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("zstd", "39: pools.p.codecs: should be a list, not 'zstd'"),
        ("null", "39: pools.p.codecs: should be a list, not null"),
        ("{int: 4}", "39: pools.p.codecs: should be a list, not a mapping"),
        ("[zst]", "40: pools.p.codecs.0: unknown codec 'zst', did you mean 'zstd'?"),
        ("[{q: 3}]", f"40: pools.p.codecs.0: unknown codec 'q' (known: {_KNOWN})"),
        (
            "[5]",
            "40: pools.p.codecs.0: should be a codec's name or {name: value}, not 5",
        ),
        (
            "[{int: 4, block: 32}]",
            "40: pools.p.codecs.0: should be one codec, has 2 keys; a codec's fields"
            " stand in a mapping under its name",
        ),
        (
            "[{int: {bitz: 4}}]",
            "47: pools.p.codecs.0.int.bitz: unknown key 'bitz', did you mean 'bits'?",
        ),
        (
            "[{int: x}]",
            "46: pools.p.codecs.0.int.bits: should be a whole number, not 'x'",
        ),
        (
            "[{int: true}]",
            "46: pools.p.codecs.0.int.bits: should be a whole number, not true",
        ),
        ("[{int: 9}]", "46: pools.p.codecs.0.int: bits must be from 2 to 8, got 9"),
        ("[float16: 3]", "49: pools.p.codecs.0.float16: takes no value, not 3"),
        ("[zstd, int]", "39: pools.p.codecs: int must come before zstd"),
        ("[int, prune]", "39: pools.p.codecs: prune must come before int"),
        (
            "[int, float16]",
            "39: pools.p.codecs: int and float16 do the same: a chain has one of them",
        ),
    ],
)
def test_what_codecs_may_not_say(written: str, expected: str) -> None:
    """One mistake, one message, at its place."""
    keys = f"tensors: [a], ratio: 2, codecs: {written}"

    assert [f"s:3:{expected}"] == mistakes(with_pool(keys))


@needs("int, zstd")
def test_all_mistakes_come_at_once() -> None:
    """Of every codec, and of those of kept tensors; their order is not judged then."""
    text = with_pool("tensors: [a], ratio: 2, codecs: [{zstd: 40}, {int: 9}, b]")
    text += "keep_codecs: {a: [], b: zstd, c#q: [int], d: [int, {zstdd: 2}]}\n"
    expected = [
        "3:47: pools.p.codecs.0.zstd: level must be from 1 to 22, got 40",
        "3:58: pools.p.codecs.1.int: bits must be from 2 to 8, got 9",
        f"3:62: pools.p.codecs.2: unknown codec 'b' (known: {_KNOWN})",
        "4:18: keep_codecs.a: needs 1 or more, has 0",
        "4:25: keep_codecs.b: should be a list, not 'zstd'",
        "4:31: keep_codecs.c#q: should name whole tensors, 'c#q' names a part",
        "4:52: keep_codecs.d.1: unknown codec 'zstdd', did you mean 'zstd'?",
    ]

    assert [f"s:{problem}" for problem in expected] == mistakes(text)


@pytest.mark.parametrize("name", codecs.names())
def test_a_codec_needs_no_word_here(name: str) -> None:
    """Its file makes it a codec of specs, with its defaults."""
    assert (codecs.named(name)(),) == read(f"[{name}]")


@needs("int, zstd")
def test_an_override_sets_codecs() -> None:
    """As any other key; the text has them in full."""
    keys = "pools.main.codecs=[int: 4, zstd]"
    spec = parse(LEAST, overrides=[keys])

    assert chain_of("int: 4, zstd") == spec.pools["main"].chain
    assert "    codecs:\n    - int:\n        bits: 4\n    - zstd\n" in spec.text
    assert spec == parse(spec.text)


def test_no_codecs_are_none() -> None:
    """An empty list is the default, and is not written."""
    spec = parse(LEAST, overrides=["pools.main.codecs=[]"])

    assert parse(LEAST) == spec
    assert "codecs" not in spec.text
    assert not spec.pools["main"].chain


@needs("int")
def test_codecs_can_be_made_in_python() -> None:
    """A codec stands for itself where a spec is no text."""
    made = codecs.named("int")(bits=4)
    pool = PoolSpec.model_validate({"tensors": ["a"], "ratio": 2, "codecs": [made]})

    assert pool.codecs == (made,)
