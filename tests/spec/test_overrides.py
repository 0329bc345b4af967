"""``--set key.path=value``."""

from __future__ import annotations

import pytest

from tests.spec.spec_texts import LEAST, mistakes
from wpack.spec import parse
from wpack.spec.nodes import compose
from wpack.spec.overrides import apply


def changed(text: str, *overrides: str) -> object:
    """Plain values of ``text`` after overrides that are right."""
    root, problems = compose(text, "s")
    assert root is not None
    assert problems == apply(root, overrides) == []
    return root.plain()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a=2", {"a": 2, "b": [1, {"c": 2}]}),
        ("a=1e-4", {"a": 1e-4, "b": [1, {"c": 2}]}),
        ("a=no", {"a": "no", "b": [1, {"c": 2}]}),
        ("a=", {"a": None, "b": [1, {"c": 2}]}),
        ("a=x=y", {"a": "x=y", "b": [1, {"c": 2}]}),
        ("a=[q, {k: 1}]", {"a": ["q", {"k": 1}], "b": [1, {"c": 2}]}),
        ("b.0=3", {"a": 1, "b": [3, {"c": 2}]}),
        ("b.1.c=3", {"a": 1, "b": [1, {"c": 3}]}),
        ("d.e.f=3", {"a": 1, "b": [1, {"c": 2}], "d": {"e": {"f": 3}}}),
        ('"d.e".f=3', {"a": 1, "b": [1, {"c": 2}], "d.e": {"f": 3}}),
        ('"d=*"=3', {"a": 1, "b": [1, {"c": 2}], "d=*": 3}),
    ],
)
def test_an_override_writes_its_path(override: str, expected: object) -> None:
    """Mappings on the way are made, values are YAML."""
    assert expected == changed("{a: 1, b: [1, {c: 2}]}", override)


def test_overrides_apply_in_order() -> None:
    """The last one wins, and an empty value can be filled."""
    assert {"a": {"b": 2, "c": 3}} == changed("a:", "a.b=1", "a.b=2", "a.c=3")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("x", "--set x: should be key.path=value, such as finetune.epochs=5"),
        ("=3", "--set =3: should be key.path=value, such as finetune.epochs=5"),
        ("a..b=3", "--set a..b=3: should be key.path=value, such as finetune.epochs=5"),
        (
            "version.x=1",
            "--set version.x=1: version is a single value, it has no key x",
        ),
        (
            "pools.main.tensors.1=a",
            "--set pools.main.tensors.1=a: pools.main.tensors is a list of 1, it has"
            " no place 1",
        ),
        (
            "pools.main.tensors.x.y=a",
            "--set pools.main.tensors.x.y=a: pools.main.tensors is a list of 1, it has"
            " no place x",
        ),
        (
            'version."\x1b[2J\u2028"=1',
            r"""--set 'version."\x1b[2J\u2028"=1': version is a single value, it has"""
            r" no key '\x1b[2J\u2028'",
        ),
        ("pools.\udcff.ratio=2", r"--set 'pools.\udcff.ratio=2': is not valid Unicode"),
        (
            "keep=[a, &x b]",
            "--set keep=[a, &x b]: keep.1: anchors (&x) are not supported",
        ),
        (
            "keep=*.bias",
            "--set keep=*.bias: keep: a pattern that begins with * needs quotes:"
            ' "*.weight"',
        ),
        ("keep={a: 1, a: 2}", "--set keep={a: 1, a: 2}: keep.a: the key stands twice"),
        ("keep=# no", "--set keep=# no: keep: is empty"),
        (
            "keep=\0",
            r"--set 'keep=\x00': keep: a NUL character; a spec is printable text",
        ),
        (
            "pools.main.raito=3",
            "--set pools.main.raito=3: pools.main.raito: unknown key 'raito', did you"
            " mean 'ratio'?",
        ),
        (
            "finetune.epochs=0",
            "--set finetune.epochs=0: finetune.epochs: should be 1 or more, not 0",
        ),
    ],
)
def test_a_wrong_override_is_named(override: str, expected: str) -> None:
    """The message says which override it was, for its form and for its value."""
    assert [expected] == mistakes(LEAST, override)


def test_mistakes_of_text_and_overrides_come_together() -> None:
    """The text's first, then the overrides' in order."""
    expected = [
        "s:2:39: pools.main.ratio: should be 1 or more, not 0",
        "--set x: should be key.path=value, such as finetune.epochs=5",
        "--set keep=3: keep: should be a list, not 3",
    ]

    assert expected == mistakes(LEAST.replace("ratio: 2", "ratio: 0"), "x", "keep=3")


def test_an_overridden_spec_has_a_text_of_its_own() -> None:
    """Its text parses to the same spec, without the overrides."""
    spec = parse(LEAST, "s", ["pools.main.ratio=3.5", "finetune.epochs=2"])

    assert 3.5 == spec.pools["main"].ratio
    assert spec == parse(spec.text)
    assert LEAST == parse(LEAST).text
