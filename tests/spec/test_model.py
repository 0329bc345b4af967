"""What a spec may say, and what it says of what it may not."""

from __future__ import annotations

import copy
import json

import pytest

from tests.spec.spec_texts import LEAST, mistakes, with_pool
from wpack.spec import FinetuneSpec, SGDSpec, Spec, parse
from wpack.spec.pools import pool_model
from wpack.spec.problems import shown


def test_the_defaults() -> None:
    """A pool needs tensors and a size; all else has a default."""
    spec = parse(LEAST)

    assert (1, {}, (), None) == (spec.version, spec.split, spec.keep, spec.finetune)
    main = spec.pools["main"]
    assert ("global", ("*",), 2.0) == (main.technique, main.tensors, main.ratio)
    assert [None] * 4 == [main.size, main.bytes, main.dtype, main.repair]


def test_every_kind_of_key() -> None:
    """The example of the design, whole."""
    spec = parse(
        """\
version: 1
split:                                   # optional
  "blocks.*.attn.qkv.weight": [q, k, v]
pools:
  query:
    technique: global
    tensors: ["blocks.*.attn.qkv.weight#q"]
    ratio: 2.0
    dtype: bfloat16
keep: ["conv1.weight", "head.*"]
finetune:
  task: samples.digits.task:task
  epochs: 10
  batch_size: 128
  optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.05}
  schedule: {name: cosine, warmup: 0.05}
  distill: {weight: 0.9, temperature: 4.0}
  precision: auto
  seed: 0
"""
    )

    assert {"blocks.*.attn.qkv.weight": ("q", "k", "v")} == spec.split
    assert ("conv1.weight", "head.*") == spec.keep
    query = spec.pools["query"]
    assert ("bfloat16", 2.0, "global") == (query.dtype, query.ratio, query.technique)
    recipe = FinetuneSpec.model_validate({"task": "samples.digits.task:task"})
    assert recipe == spec.finetune


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a]", ["1:1: should be a mapping of keys to values, not a list"]),
        ("3", ["1:1: should be a mapping of keys to values, not 3"]),
        ("~", ["1:1: should be a mapping of keys to values, not null"]),
        ("{}", ["1:1: version: is missing", "1:1: pools: is missing"][::-1]),
        (
            LEAST.replace("version: 1", "version: 2"),
            ["1:10: version: should be 1, not 2"],
        ),
        (
            LEAST.replace("version: 1", "version: '1'"),
            ["1:10: version: should be 1, not '1'"],
        ),
        (
            LEAST + "pool: {}",
            ["3:1: pool: unknown key 'pool', did you mean 'pools'?"],
        ),
        ("version: 1\npools: {}", ["2:8: pools: needs 1 or more, has 0"]),
        (
            "version: 1\npools: {a: x}",
            ["2:12: pools.a: should be a mapping of keys to values, not 'x'"],
        ),
        (
            "version: 1\npools: {a: {ratio: 2}}",
            ["2:9: pools.a.tensors: is missing"],
        ),
        (
            "version: 1\npools: {a b: {tensors: [x], ratio: 2}}",
            [
                '2:9: pools."a b": should be a name of at most 64 letters, digits, _'
                " and -, not 'a b'"
            ],
        ),
        (LEAST + "keep: a", ["3:7: keep: should be a list, not 'a'"]),
        (
            LEAST + "keep: [a#q]",
            ["3:8: keep.0: should name whole tensors, 'a#q' names a part"],
        ),
        (LEAST + "keep: [3]", ["3:8: keep.0: should be text, not 3"]),
        (
            LEAST + "split: {a: [q]}",
            ["3:12: split.a: needs 2 or more, has 1"],
        ),
        (LEAST + "split: {a: [q, q]}", ["3:12: split.a: names a part twice"]),
        (LEAST + "split: {a: 3}", ["3:12: split.a: should be a list, not 3"]),
        (
            LEAST + "split: {a: [q, k.v]}",
            [
                "3:16: split.a.1: should be a name of at most 64 letters, digits, _"
                " and -, not 'k.v'"
            ],
        ),
        (
            LEAST + "split: {a: {q: 1, k: 0}}",
            ["3:22: split.a.k: should be 1 or more, not 0"],
        ),
        (
            with_pool("ratio: 2, tensors: [a, 3, '', 're:(']"),
            [
                "3:30: pools.p.tensors.1: should be text, not 3",
                "3:33: pools.p.tensors.2: is an empty pattern, it matches nothing",
                "3:37: pools.p.tensors.3: is no regular expression: missing ),"
                " unterminated subpattern at position 0",
            ],
        ),
        (
            with_pool("ratio: 2, tensors: []"),
            ["3:26: pools.p.tensors: needs 1 or more, has 0"],
        ),
        (
            with_pool("ratio: 2, tensors: *x"),
            [
                "3:26: pools.p.tensors: aliases (*x) are not supported; put a pattern"
                " that begins with * in quotes"
            ],
        ),
    ],
)
def test_what_a_spec_may_not_say(text: str, expected: list[str]) -> None:
    """Every mistake, once, at its place."""
    assert [f"s:{problem}" for problem in expected] == mistakes(text)


def test_all_mistakes_come_at_once() -> None:
    """Syntax that YAML has and a spec has not, unknown keys, wrong values: together."""
    text = """\
version: 2
pools:
  a: {tensors: [x], raito: 2, size: 0}
  b: {tensors: &y [x], ratio: 1, ratio: 2, dtype: int8}
kep: *y
finetune: {epochs: -1, optimizer: {name: sgd, betas: [0, 0]}}
"""
    expected = [
        "s:1:10: version: should be 1, not 2",
        "s:3:21: pools.a.raito: unknown key 'raito', did you mean 'ratio'?",
        "s:3:37: pools.a.size: should be 1 or more, not 0",
        "s:4:16: pools.b.tensors: anchors (&y) are not supported",
        "s:4:34: pools.b.ratio: the key stands twice, first on line 4",
        "s:4:51: pools.b.dtype: unknown pool dtype 'int8' (known: float64, float32,"
        " float16, bfloat16)",
        "s:5:1: kep: unknown key 'kep', did you mean 'keep'?",
        "s:5:6: kep: aliases (*y) are not supported; put a pattern that begins with *"
        " in quotes",
        "s:6:20: finetune.epochs: should be 1 or more, not -1",
        "s:6:47: finetune.optimizer.betas: unknown key 'betas' (known: name, lr,"
        " weight_decay, momentum, nesterov, fused)",
    ]

    assert expected == mistakes(text)


def test_a_hundred_mistakes_are_enough() -> None:
    """A machine-made mess does not fill the terminal."""
    problems = mistakes(LEAST + "".join(f"k{i:03}: 1\n" for i in range(150)))

    assert 101 == len(problems)
    assert "… and 50 more" == problems[-1]


def test_equality_is_about_values() -> None:
    """Comments, places and the way of writing do not count."""
    spec = parse(LEAST)

    assert spec == parse("# other\n" + LEAST.replace("2", "2.0"))
    assert spec == copy.deepcopy(spec)
    assert spec != parse(LEAST.replace("2", "3"))
    assert spec != LEAST


def test_problems_found_later_have_a_place() -> None:
    """A plan can point into the spec's file."""
    spec = parse(LEAST, "s")

    assert "s:2:15: pools.main: too small" == str(
        spec.problem(("pools", "main"), "too small")
    )
    assert "s:2:26: pools.main.tensors.0: x" == str(
        spec.problem(("pools", "main", "tensors", 0), "x")
    )
    made = Spec.model_validate(spec.model_dump())
    assert "<spec>: pools.main: x" == str(made.problem(("pools", "main"), "x"))


def test_specs_can_be_made_in_python() -> None:
    """Of models as well as of mappings; what they hold is checked alike."""
    pool = pool_model("global")(technique="global", tensors=("*",), ratio=2.0)
    optimizer = SGDSpec(name="sgd", lr=0.1)
    made = Spec(
        version=1,
        pools={"main": pool},
        finetune=FinetuneSpec(optimizer=optimizer),
    )

    assert made == parse(LEAST + "finetune: {optimizer: {name: sgd, lr: 0.1}}")
    assert made == parse(made.text)


@pytest.mark.parametrize("key", ["k" * 81, "a\u202eb"])
def test_keys_that_spoil_a_message_are_shortened_or_escaped(key: str) -> None:
    """A key of a stranger's is one word of a line."""
    (problem,) = mistakes(LEAST + f"{json.dumps(key, ensure_ascii=False)}: 1\n")
    place = problem.removeprefix("s:3:1: ")

    assert place.isprintable()
    assert place.startswith(f"{shown(key)}: unknown key {shown(key)}")
