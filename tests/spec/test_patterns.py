"""Globs, regular expressions and parts."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack.errors import StorageError
from wpack.spec import patterns
from wpack.spec.patterns import (
    Pattern,
    TooSlow,
    exactly,
    matching,
    role,
    role_regex,
)


def matched(text: str, *names: str) -> tuple[str, ...]:
    """Which names one pattern matches."""
    pattern = Pattern.parse(text)
    return matching([pattern], names)[pattern]


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a.*.w", "a.0.b.w", True),
        ("a.*.w", "a.0.b.W", False),
        ("a.?.w", "a.10.w", False),
        ("a.[01].w", "a.1.w", True),
        ("a.[!01].w", "a.1.w", False),
        ("a", "ab", False),
        ("*", "line\nbreak", True),
        ("a[0].w", "a[0].w", True),
        ("a[[]0].w", "a[0].w", True),
        ("a[", "a[", True),
        ("re:a\\.\\d+", "a.12", True),
        ("re:a", "ab", False),
        ("re:(?i)A", "a", True),
        ("a[#]b", "a#b", True),
        ("a#0.b", "a#0.b", True),
    ],
)
def test_what_matches(text: str, name: str, expected: bool) -> None:
    """A pattern is about the whole name, letter case included."""
    assert expected == (matched(text, name) == (name,))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.*#q", Pattern("a.*", "q", False)),
        ("a#b#q_2", Pattern("a#b", "q_2", False)),
        ("re:a.*#q", Pattern("a.*", "q", True)),
        ("a[#]q", Pattern("a[#]q", "", False)),
        ("a#b.c", Pattern("a#b.c", "", False)),
        ("a#", Pattern("a#", "", False)),
    ],
)
def test_taking_a_pattern_apart(text: str, expected: Pattern) -> None:
    """What follows the last # is a part if it could be a part's name."""
    assert expected == Pattern.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is an empty pattern, it matches nothing"),
        ("#q", "is an empty pattern, it matches nothing"),
        ("re:", "is an empty pattern, it matches nothing"),
        (
            "re:a(",
            "is no regular expression: missing ), unterminated subpattern at position"
            " 1",
        ),
        ("re:[[a]", "is no regular expression: Possible nested set at position 1"),
        ("re:" + "a" * 1001, "is longer than 1000 characters"),
    ],
)
def test_patterns_that_cannot_be(text: str, expected: str) -> None:
    """The message completes "this pattern …"."""
    with pytest.raises(ValueError, match=r"^is") as refused:
        Pattern.parse(text)

    assert expected == str(refused.value)


def test_an_expression_too_large_for_python_is_refused() -> None:
    """An overflow inside ``re`` is no crash."""
    with pytest.raises(ValueError, match=r"^is no regular expression: the repe"):
        Pattern.parse("re:a{99999999999}")


def test_nested_groups_are_read() -> None:
    """As deep as the length allows."""
    assert ("",) == matched("re:" + "(" * 200 + ")" * 200, "")


def test_a_full_name_is_no_rule() -> None:
    """Only a glob that is the name itself names a tensor."""
    assert Pattern.parse("a.bias").names("a.bias")
    assert Pattern.parse("a[0].bias").names("a[0].bias")
    assert not Pattern.parse("a.*").names("a.bias")
    assert not Pattern.parse("re:a.bias").names("a.bias")


def test_matches_keep_the_order_of_names() -> None:
    """Several patterns of both kinds, answered at once."""
    asked = [Pattern.parse(text) for text in ("b*", "re:[ab]\\d", "c", "re:b1#q")]
    found = matching(asked, ["b2", "b1", "a1", "x"])

    assert [("b2", "b1"), ("b2", "b1", "a1"), (), ("b1",)] == [found[p] for p in asked]


@pytest.mark.parametrize("expression", ["(a+)+$", "(.*)*.*.*.*.*x.*y", "(a|aa)+b"])
def test_a_runaway_expression_is_stopped(expression: str) -> None:
    """It is named, and its neighbours that were quick are not blamed."""
    asked = [Pattern.parse(f"re:{e}") for e in ("a+", expression, "b+")]
    begin = time.perf_counter()
    with pytest.raises(TooSlow) as stopped:
        matching(asked, ["a" * 64 + "c"])

    assert expression == stopped.value.expression
    # One second of matching; the rest is for starting a process on a busy machine.
    assert 0.9 < time.perf_counter() - begin < 20


def test_a_glob_cannot_run_away() -> None:
    """Fifty stars on a long name that just fails."""
    begin = time.perf_counter()

    assert () == matched("*a" * 50 + "b", "a" * 3000)
    assert time.perf_counter() - begin < 1


def test_without_a_child_process_there_are_no_regular_expressions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The message says what to write instead."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StorageError) as refused:
        matched("re:a", "a")

    assert str(refused.value) == (
        "/nowhere/python: no Python process to match regular expressions in: [Errno 2]"
        " No such file or directory: '/nowhere/python'. Write the spec's patterns as"
        " globs"
    )


def test_a_child_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its silence is no match."""
    monkeypatch.setattr(patterns, "_CHILD", "raise SystemExit(3)")
    with pytest.raises(StorageError, match="it ended with status 3") as refused:
        matched("re:a", "a")

    assert sys.executable == refused.value.where


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blocks.3.mlp.fc1.weight", "blocks.*.mlp.fc1.weight"),
        ("0.1.weight", "*.*.weight"),
        ("layer12.conv2", "layer12.conv2"),
        ("weight", "weight"),
    ],
)
def test_a_role_is_the_name_without_block_numbers(name: str, expected: str) -> None:
    """Only components that are numbers count blocks."""
    assert expected == role(name)


names = st.lists(
    st.sampled_from(["a", "b", "0", "12", "[x]", "re:", "#q", "*", "w?", ""]),
    min_size=1,
    max_size=3,
).map(".".join)


@given(st.lists(names.filter(bool), min_size=1, unique=True))
def test_exactly_matches_one_name(names: list[str]) -> None:
    """Whatever characters it has."""
    assert [(n,) for n in names] == [matched(exactly(n), *names) for n in names]


def test_a_role_regex_matches_its_role() -> None:
    """Numbers vary, all else is literal, # included."""
    names = ["a.0.b#q.w", "a.11.b#q.w", "a.x.b#q.w", "a.0.b#qxw", "a.0.b.w"]

    assert tuple(names[:2]) == matched(role_regex(names[0]), *names)
    assert ("0.x#q", "5.x#q") == matched(role_regex("3.x#q"), "0.x#q", "5.x#q", "x#q")
