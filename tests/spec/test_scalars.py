"""YAML 1.2's meaning of scalars, and text that keeps its meaning."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wpack.spec import scalars
from wpack.spec.nodes import compose

#: Characters that YAML text may hold.
texts = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="\ufffe\uffff")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e-4", 0.0001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1.5", 1.5),
        ("-.inf", -math.inf),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-3", -3),
        ("null", None),
        ("~", None),
        ("", None),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("none", "none"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0b101", "0b101"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        (".", "."),
        ("=", "="),
        ("1\n", "1\n"),
        ("٣", "٣"),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, expected: object) -> None:
    """The core schema decides, not YAML 1.1's."""
    actual = scalars.resolve(text)

    assert (expected, type(expected)) == (actual, type(actual))


def test_nan_is_read() -> None:
    """``.nan`` is a number here; the fields refuse it."""
    assert math.isnan(scalars.resolve(".nan"))  # type: ignore[arg-type]


@pytest.mark.parametrize(("digits", "is_read"), [(18, True), (5000, False)])
def test_integers_have_an_end(digits: int, is_read: bool) -> None:
    """Reading digits costs their square: past 18 there is nothing to say with them."""
    text = "9" * digits
    if is_read:
        assert int(text) == scalars.resolve(text)
    else:
        with pytest.raises(ValueError, match=r"^a number of 5000 digits, 18 are the"):
            scalars.resolve(text)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["1e-4", "no", "<<", "=", "", "~", "010", "0o7", "*x", "a\n\tb"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_dumped_is_read_back(values: dict[str, object]) -> None:
    """dump → compose gives equal values, of the same types."""
    root, problems = compose(scalars.dump(values), "s")

    assert problems == []
    assert root is not None
    assert repr(values) == repr(root.plain())


@given(texts)
def test_quoted_text_is_read_back_from_one_line(text: str) -> None:
    """A string in double quotes stands on one line and means itself."""
    quoted = scalars.quoted(text)
    root, _ = compose(quoted, "s")

    assert len(quoted.splitlines()) == 1
    assert root is not None
    assert text == root.plain()
