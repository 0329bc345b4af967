"""The map of a pool."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from wpack.report.pool_map import MAX_BARS, Bar, bars, svg
from wpack.report.sharing import Reader

readers = st.lists(
    st.builds(Reader, st.just("w"), st.integers(0, 9), st.integers(1, 35)), max_size=8
)


@given(readers)
def test_bars_are_the_readers(readers: list[Reader]) -> None:
    """Together the bars are what is read, and none lies on another."""
    found = bars(readers, 10)
    drawn = sum((bar.end - bar.begin) * bar.times for bar in found)

    assert sum(reader.length for reader in readers) == drawn
    for lane in {bar.lane for bar in found}:
        taken = sorted((b.begin, b.end) for b in found if b.lane == lane)

        assert all(a[1] <= b[0] for a, b in pairwise(taken))


def test_laps_are_lanes() -> None:
    """Tensors that follow each other round the ring lie as in its laps."""
    expected = [
        Bar(0, 0, 6, 1, 0),
        Bar(1, 6, 10, 1, 0),
        Bar(1, 0, 2, 1, 1),
        Bar(2, 2, 8, 1, 1),
    ]

    assert expected == bars(
        [Reader("a", 0, 6), Reader("b", 6, 6), Reader("c", 2, 6)], 10
    )


def test_svg_is_xml_and_escaped() -> None:
    """Any XML reader takes the map, whatever the tensors are called."""
    name = '</title><script>alert("x")</script>\x1b'
    root = ElementTree.fromstring(svg([Reader(name, 0, 25)], 10))
    (whole, rest) = root.iter("title")

    assert whole.text == name.replace("\x1b", "\\x1b") + ": 0 to 10, 2 times"
    assert rest.text == name.replace("\x1b", "\\x1b") + ": 0 to 5"
    assert not list(root.iter("script"))


def test_names_stand_in_the_bars_that_have_room() -> None:
    """A long name is shortened to its bar, and left out of a very narrow one."""
    name = "encoder.layers.11.self_attention.output.dense.weight"
    wide, narrow = Reader(name, 0, 20), Reader("narrow", 20, 1)
    root = ElementTree.fromstring(svg([wide, narrow], 100))
    texts = [element.text for element in root.iter("text")]

    assert texts == ["encoder.layers....t.dense.weight", None]


def test_too_many_bars() -> None:
    """A map that would be too slow says what it leaves out."""
    many = [Reader(f"t{i}", i, 1) for i in range(MAX_BARS + 7)]
    found = svg(many, MAX_BARS + 7)

    assert found.count("<rect") == MAX_BARS
    assert found.endswith("</svg><p>7 more are not drawn.</p>")
