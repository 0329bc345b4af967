"""The map of a pool as SVG: what stands in one column shares backing weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from . import units
from .names import printable, shorten
from .sharing import Reader, spans

_WIDTH = 960
_LANE = 16
#: Width of a letter at the page's font size, and the least of a name that says much.
_LETTER = 6
_LEAST_LETTERS = 8
#: Bars in one map: more make no picture and a slow page.
MAX_BARS = 2000


@dataclass(frozen=True)
class Bar:
    """Backing weights ``begin … end - 1``, read ``times`` times by reader ``index``;
    drawn in ``lane``, counted from the top."""

    index: int
    begin: int
    end: int
    times: int
    lane: int


def bars(readers: Sequence[Reader], backing: int) -> list[Bar]:
    """Every reader's ranges, each in the first lane that is free there.

    Tensors that follow each other round a ring so come to lie in the lanes as in the
    laps of the ring.
    """
    lanes: list[list[tuple[int, int]]] = []
    found: list[Bar] = []
    for index, begin, end, times in _spans(readers, backing):
        lane = _free_lane(lanes, begin, end)
        lanes[lane].append((begin, end))
        found.append(Bar(index, begin, end, times, lane))
        if len(found) == MAX_BARS:
            break
    return found


def svg(readers: Sequence[Reader], backing: int) -> str:
    """One ``<svg>`` element that needs no script and no other file."""
    drawn = bars(readers, backing)
    height = _LANE * (1 + max((bar.lane for bar in drawn), default=0))
    body = "".join(_bar(bar, readers[bar.index].label, backing) for bar in drawn)
    left_out = sum(1 for _ in _spans(readers, backing)) - len(drawn)
    note = f"<p>{units.count(left_out)} more are not drawn.</p>" if left_out else ""
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img"'
        f' aria-label="who reads what">{body}</svg>{note}'
    )


def _spans(
    readers: Sequence[Reader], backing: int
) -> Iterator[tuple[int, int, int, int]]:
    for index, reader in enumerate(readers):
        for begin, end, times in spans(reader, backing):
            yield index, begin, end, times


def _free_lane(lanes: list[list[tuple[int, int]]], begin: int, end: int) -> int:
    for lane, taken in enumerate(lanes):
        # What was laid last is the likeliest to be in the way.
        if all(end <= b or e <= begin for b, e in reversed(taken)):
            return lane
    lanes.append([])
    return len(lanes) - 1


def _bar(bar: Bar, label: str, backing: int) -> str:
    left = _WIDTH * bar.begin / backing
    width = max(_WIDTH * (bar.end - bar.begin) / backing, 0.5)
    # Steps of the golden angle keep neighbours apart in colour.
    hue = bar.index * 137.508 % 360
    laps = f", {bar.times} times" if bar.times > 1 else ""
    name = printable(label)
    where = f"{units.count(bar.begin)} to {units.count(bar.end)}{laps}"
    letters = int(width / _LETTER)
    shown = shorten(name, letters) if letters >= _LEAST_LETTERS else ""
    return (
        f'<g><title>{escape(name)}: {where}</title><rect x="{left:.2f}"'
        f' y="{bar.lane * _LANE}" width="{width:.2f}" height="{_LANE - 2}"'
        f' fill="hsl({hue:.0f},60%,72%)"/><text x="{left + 4:.2f}"'
        f' y="{bar.lane * _LANE + 11}">{escape(shown)}</text></g>'
    )
