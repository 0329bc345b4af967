"""Strict JSON: what Python's parser takes and a file may not hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack.strict_json import dumps, loads

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(documents)
def test_what_is_written_is_read(document: object) -> None:
    """Integers, strings, literals, lists and objects round-trip."""
    assert document == loads(dumps(document))


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_key_order_does_not_matter(document: dict[str, int]) -> None:
    """Equal documents give equal text."""
    turned = dict(reversed(list(document.items())))

    assert dumps(document) == dumps(turned)


def test_minus_nought_elsewhere_is_harmless() -> None:
    """In a string; beside other integers."""
    assert {"layer-0": [-1, 0, 10]} == loads('{"layer-0":[-1,0,10]}')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a":1,"a":2}', "the key 'a' stands twice in one object"),
        ('{"b":{"a":1,"a":2}}', "the key 'a' stands twice in one object"),
        ("[NaN]", "the number NaN is not an integer"),
        ("[-Infinity]", "the number -Infinity is not an integer"),
        ("[1e400]", "the number 1e400 is not an integer"),
        ("[-0]", "the number -0 is not an integer"),
        ("[1.0]", "the number 1.0 is not an integer"),
        ("[" + "1" * 5000 + "]", "an integer has thousands of digits"),
        ("[1,]", "not JSON: Expecting value at character 3"),
        ("", "not JSON: Expecting value at character 0"),
        ('["a', "not JSON: Unterminated string starting at character 1"),
        ("[1] x", "not JSON: Extra data at character 4"),
        ("[" * 200_000, "not JSON: nested too deeply"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    """One meaning, bounded work."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        loads(text)
