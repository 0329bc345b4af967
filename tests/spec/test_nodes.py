"""YAML is read strictly, in bounded time, and every value knows its place."""

from __future__ import annotations

import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wpack.spec import nodes
from wpack.spec.nodes import MAX_BYTES, MAX_DEPTH, Node, compose


def problems_of(text: str) -> list[str]:
    """What composing says, in the order found."""
    return [str(problem) for problem in compose(text, "s")[1]]


def root_of(text: str) -> Node:
    """The root of a text without problems."""
    root, problems = compose(text, "s")
    assert problems == []
    assert root is not None
    return root


def test_values_and_places() -> None:
    """Lines and columns start at 1 and count characters, whatever the line's end."""
    root = root_of("a: 1\r\né: [x, {b: 'no'}]\n# c\n'2': |\n  t\n")

    assert {"a": 1, "é": ["x", {"b": "no"}], "2": "t\n"} == root.plain()
    assert ["s:1:1", "s:2:1", "s:4:1"] == [str(p) for p in root.keys.values()]
    inner = root.value["é"].value[1]
    assert ("s:2:8", "s:2:12") == (str(inner.place), str(inner.value["b"].place))


def test_keys_are_text_whatever_they_look_like() -> None:
    """A key is what is written, not a number or a truth value."""
    assert ["1", "no", "null", "1e3"] == list(
        root_of("{1: a, no: b, null: c, 1e3: d}").value
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "a: 1\na: 2", "s:2:1: a: the key stands twice, first on line 1", id="twice"
        ),
        pytest.param(
            "p:\n  b.c: {x: 1, x: 2}",
            's:2:15: p."b.c".x: the key stands twice, first on line 2',
            id="twice-deep",
        ),
        pytest.param(
            "a: &x 1", "s:1:4: a: anchors (&x) are not supported", id="anchor"
        ),
        pytest.param(
            "a: *x",
            "s:1:4: a: aliases (*x) are not supported; put a pattern that begins with"
            " * in quotes",
            id="alias",
        ),
        pytest.param(
            "a: &x [*x]", "s:1:4: a: anchors (&x) are not supported", id="recursive"
        ),
        pytest.param(
            "<<: {a: 1}", "s:1:1: merge keys (<<) are not supported", id="merge"
        ),
        pytest.param(
            "&k a: 1", "s:1:1: anchors and tags are not supported", id="anchored-key"
        ),
        pytest.param(
            "!!str a: 1", "s:1:1: anchors and tags are not supported", id="tagged-key"
        ),
        pytest.param(
            "a: !!python/object:os.system x",
            "s:1:4: a: tags ('!!python/object:os.system') are not supported",
            id="python-tag",
        ),
        pytest.param(
            "a: !!binary aGk=",
            "s:1:4: a: tags ('!!binary') are not supported",
            id="binary",
        ),
        pytest.param(
            "a: !x%1bx {b: 1}",
            r"s:1:4: a: tags ('!x\x1bx') are not supported",
            id="control-in-tag",
        ),
        pytest.param(
            "*k : 1",
            "s:1:1: aliases (*k) are not supported; put a pattern that begins with * in"
            " quotes",
            id="alias-key",
        ),
        pytest.param(
            "? [a]\n: b",
            "s:1:3: a key must be text, not a list or a mapping",
            id="list-key",
        ),
        pytest.param(
            "a: 1\n---\nb: 2", "s:2:1: a second document; a spec is one", id="documents"
        ),
        pytest.param("", "s:1:1: is empty", id="empty"),
        pytest.param("# hi\n\n", "s:1:1: is empty", id="comments"),
        pytest.param(
            "a:\n \t- b",
            "s:2:2: a tab in the indentation; YAML takes spaces only",
            id="tab",
        ),
        pytest.param(
            "a: 1\r\nb: x\0y",
            "s:2:5: a NUL character; a spec is printable text",
            id="nul",
        ),
        pytest.param(
            "a: \x1b[31m",
            "s:1:4: a control U+001B character; a spec is printable text",
            id="escape",
        ),
        pytest.param(
            "a: x\ufeff",
            "s:1:5: a control U+FEFF character; a spec is printable text",
            id="inner-bom",
        ),
        pytest.param(
            "a: [x, *.bias]",
            's:1:8: a pattern that begins with * needs quotes: "*.weight"',
            id="bare-glob",
        ),
        pytest.param(
            f"a: {'1' * 5000}",
            "s:1:4: a: a number of 5000 digits, 18 are the most there may be",
            id="digits",
        ),
    ],
)
def test_what_a_spec_may_not_hold(text: str, expected: str) -> None:
    """Each is told at its place."""
    assert expected == problems_of(text)[0]


def test_syntax_errors_have_a_place() -> None:
    """What the parser says comes with line and column."""
    (problem,) = problems_of("a: 1\nb: c: d\n")

    assert problem.startswith("s:2:5: not valid YAML: mapping values are not allowed")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (r'a: ["b", "\ud800"]', "s:1:10"),
        (r'a: {"\uDFFF": 1}', "s:1:5"),
        (r'a: "\U00110000"', "s:1:1"),
    ],
)
def test_escapes_that_are_no_characters(
    monkeypatch: pytest.MonkeyPatch, text: str, place: str
) -> None:
    """PyYAML passes them on where it has no libyaml, which refuses them."""
    problem = "not valid YAML: found invalid Unicode character escape code"
    (with_libyaml,) = problems_of(text)
    monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)
    (without,) = problems_of(text)

    assert with_libyaml.partition(": ")[2].startswith(problem)
    assert without.partition(": ")[0] == place
    assert without.partition(": ")[2].startswith(problem)


def test_problems_before_a_syntax_error_are_told_too() -> None:
    """Parsing goes on past what it can."""
    assert ["s:1:4", "s:2:4"] == [p[:5] for p in problems_of("a: !x 1\nb: *x\nc: [")][
        :2
    ]


def test_a_tab_elsewhere_is_harmless() -> None:
    """Tabs in comments and in quotes are no indentation."""
    root = root_of('a: 1 #\tc\nb: "x\ty"\n')

    assert {"a": 1, "b": "x\ty"} == root.plain()


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_depth_is_bounded(opening: str) -> None:
    """5000 levels are refused at the 33rd, in no time."""
    begin = time.perf_counter()
    problems = problems_of(opening * 5000)

    assert [f"nested deeper than {MAX_DEPTH} levels, which no spec needs"] == [
        p.split(": ")[1] for p in problems
    ]
    assert time.perf_counter() - begin < 1


def test_an_alias_bomb_costs_its_text() -> None:
    """Nine aliases a level, ten levels: refused without building anything."""
    text = "a0: &a0 x\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
    )
    begin = time.perf_counter()
    problems = problems_of(text)

    assert 10 + 9 * 9 == len(problems)
    assert time.perf_counter() - begin < 1


def test_a_megabyte_is_the_most() -> None:
    """Longer texts are not parsed; bytes count, not characters."""
    expected = [f"s:1:1: longer than {MAX_BYTES} bytes, which no spec needs"]

    assert expected == problems_of("#" * (MAX_BYTES + 1))
    assert expected == problems_of("#" + "é" * (MAX_BYTES // 2))


def test_the_number_of_values_is_bounded() -> None:
    """A megabyte of anything is refused in about a second."""
    begin = time.perf_counter()
    problems = problems_of("a: [" + "x," * 500_000 + "]")

    assert ["s:1:100001: more than 50000 values, which no spec needs"] == problems
    assert time.perf_counter() - begin < 5


@given(st.text(alphabet="ab:-[]{}'\"#&*!|>%@,? \n\t\r0.<~\\\ud800\x85\u2028é"))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text raises: it has a root, or problems, or both."""
    root, problems = compose(text, "s")

    assert root is not None or problems


@given(st.text(st.characters(), max_size=20))
def test_any_characters_are_read_or_refused(text: str) -> None:
    """Nor does any character."""
    root, problems = compose(text, "s")

    assert root is not None or problems
