"""The JSON Schema: what editors know of a spec."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.blobs import needs
from tests.spec.spec_texts import LEAST, mistakes, with_pool
from wpack import codecs, techniques
from wpack.spec import parse, schema
from wpack.spec.coding import fields_model
from wpack.spec.pools import pool_model


@needs("prune, int, zstd")
def test_the_schema_accepts_what_the_parser_does() -> None:
    """Editors and wpack agree on a spec with every kind of key."""
    validator = Draft202012Validator(schema())
    Draft202012Validator.check_schema(schema())
    full = """\
version: 1
split: {"a.*": [q, k], b: {q: 64, k: 1_000}}
pools:
  a: {technique: global, tensors: ["*"], ratio: 2.5, placement: pack, start: {x: 1}}
  b: {tensors: [x], size: 1.5M, dtype: bfloat16, repair: rms, codecs: [{int: 4}, zstd]}
  d: {tensors: [x], size: 1, codecs: [prune: 0.9, int: {bits: 4, block: 32}, zstd: ]}
  c: {tensors: [x], bytes: 4MiB, dtype: null}
keep: [x]
keep_codecs: {"*": [int], y: [{zstd: {level: 3}}]}
finetune:
  task: {name: image-classification, data: x.npz, size: [32, 32]}
  steps: 1_000
  optimizer: {name: sgd, lr: 0.1}
  schedule: {warmup: 100}
  distill: {hints: {modules: ["blocks.*"], weight: 0.5, anneal: false}}
"""
    parse(full)

    assert [] == list(validator.iter_errors(yaml.safe_load(full)))
    assert [] == list(validator.iter_errors(yaml.safe_load(LEAST)))


@pytest.mark.parametrize(
    "text",
    [
        LEAST + "kep: [a]",
        "version: 1\npools: {}",
        with_pool("tensors: [a], raito: 2"),
        with_pool("tensors: [a], ratio: 0"),
        with_pool("tensors: [a], size: 4MiB"),
        with_pool("tensors: a, ratio: 2"),
        with_pool("tensors: [a], ratio: 2, technique: zzz"),
        with_pool("tensors: [a], ratio: 2, dtype: int8"),
        with_pool("tensors: [a], ratio: 2, codecs: zstd"),
        with_pool("tensors: [a], ratio: 2, codecs: [zst]"),
        with_pool("tensors: [a], ratio: 2, codecs: [{int: {bitz: 4}}]"),
        with_pool("tensors: [a], ratio: 2, codecs: [{int: 4, zstd: 3}]"),
        with_pool("tensors: [a], ratio: 2, codecs: [{int: x}]"),
        LEAST + "keep_codecs: {a: []}",
        LEAST + "finetune: {distill: {hints: {modules: blocks}}}",
        LEAST + "finetune: {distill: {cache: 3XB}}",
        LEAST + "finetune: {optimizer: {name: sgd, betas: [0.9, 0.9]}}",
    ],
)
def test_the_schema_refuses_what_the_parser_does(text: str) -> None:
    """A mistake shows in the editor already."""
    mistakes(text)

    assert list(Draft202012Validator(schema()).iter_errors(yaml.safe_load(text)))


def test_every_key_is_described() -> None:
    """The schema is the manual: each key of each section says what it is for."""
    sections = schema()["$defs"]
    own = {name: pool_model(name).__name__ for name in techniques.names()}
    silent = [
        f"{title}.{key}"
        for title, section in sections.items()
        for key, value in section.get("properties", {}).items()
        if "description" not in value
    ]
    # A technique's and a codec's own keys are described by its docstring.
    of_techniques = [
        f"{title}.{f.name}"
        for name, title in own.items()
        for f in dataclasses.fields(techniques.named(name))
    ]
    fields = {name: fields_model(name).__name__ for name in codecs.names()}
    of_codecs = [
        f"{title}.{f.name}"
        for name, title in fields.items()
        for f in dataclasses.fields(codecs.named(name))
    ]

    assert set() == {*silent} - {*of_techniques, *of_codecs}
    titles = [*own.values(), *fields.values()]
    assert all(sections[title]["description"] for title in titles)
