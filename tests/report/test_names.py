"""Names from files as they are printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from wpack.report.names import folded, gathered, printable, shorten, without_folder


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.0.weight", "blocks.0.weight"),
        ("größe", "größe"),
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("two\nlines", "two\\nlines"),
        ("\u202egnp", "\\u202egnp"),
        ("lone\udc80", "lone\\udc80"),
        ("nul\0", "nul\\x00"),
    ],
)
def test_printable(name: str, expected: str) -> None:
    """What a terminal would act on is escaped; letters of any alphabet stay."""

    assert expected == printable(name)


@given(st.text())
def test_printable_is_printable(name: str) -> None:
    """Nothing that is printed can steer a terminal or break a line."""

    assert printable(name).isprintable()


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (30, "blocks.0.attn.qkv.weight"),
        (24, "blocks.0.attn.qkv.weight"),
        (20, "blocks.0....v.weight"),
        (3, "..."),
        (2, ".."),
    ],
)
def test_shorten(width: int, expected: str) -> None:
    """The middle goes, since the two ends of a name say most."""

    assert expected == shorten("blocks.0.attn.qkv.weight", width)


@given(st.text(st.characters(categories=["Lu", "Lo", "Nd"])), st.integers(1, 30))
def test_shorten_fits(text: str, width: int) -> None:
    """Whatever the alphabet, no more cells are used than there are."""

    assert cell_len(shorten(text, width)) <= width


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        (["a"], ["a"]),
        (["b.0.w", "b.1.w", "b.2.w", "b.4.w"], ["b.{0-2,4}.w"]),
        (["b.0.w", "head", "b.1.w"], ["b.{0-1}.w", "head"]),
        (["b.0.fc1", "b.1.fc2"], ["b.0.fc1", "b.1.fc2"]),
        (["b.007", "b.008"], ["b.{007,008}"]),
        (["same", "same"], ["same"]),
        (["b." + "9" * 5000, "b.1"], ["b.{" + "9" * 5000 + ",1}"]),
    ],
)
def test_gathered(names: list[str], expected: list[str]) -> None:
    """Names that differ in one number become one, in the order of the first."""

    assert expected == gathered(names)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ""),
        (["a.b"], "a.b"),
        (["b.0.fc1.w", "b.1.fc2.w"], "b.{0.fc1, 1.fc2}.w"),
        (["b.0", "b.1.w"], "b.{0, 1.w}"),
        (["x.w", "y.w"], "{x, y}.w"),
        (["a", "b"], "a, b"),
        (["a.a.a", "a.a"], "a.{a.a, a}"),
    ],
)
def test_folded(names: list[str], expected: str) -> None:
    """Beginnings and ends that all names share are written once."""

    assert expected == folded(names)


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["runs/a.wpool"], ["a.wpool"]),
        (["runs/a", "runs/b"], ["a", "b"]),
        (["runs/a", "b"], ["runs/a", "b"]),
        (["runs/"], ["runs/"]),
        (["x/\u202e"], ["\\u202e"]),
    ],
)
def test_without_folder(paths: list[str], expected: list[str]) -> None:
    """A folder that all have says nothing."""
    assert expected == without_folder(paths)
