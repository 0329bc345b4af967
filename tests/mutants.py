"""Sound files, changed: what hypothesis draws to find where two readers disagree."""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

from tests.crafting import safetensors, wpool
from tests.golden import v1
from wpack import container

#: One of everything that a header can hold.
SOUND = safetensors(
    [
        ("a", "F32", [2, 3], bytes(range(24))),
        ("none", "I64", [0, 5], b""),
        ("b.weight", "BF16", [4], bytes(range(8))),
        ("scalar", "F64", [], bytes(8)),
        ("flags", "BOOL", [3], b"\1\0\1"),
        ("é", "F8_E4M3", [1, 1, 2], b"\1\2"),
    ],
    {"format": "pt", "made by": '{"a": [1, -0]}'},
)

_NUMBERS = (
    *("0", "-0", "00", "1", "01", "-1", "1.0", "1e2", "1E400", "+1", "0x8", "1_0"),
    *("2147483648", "4294967296", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "9" * 30, "9" * 5000),
    *("NaN", "-Infinity", "null", "true", '"8"', "[]", "[8]", "{}", ""),
)
_SPACES = (" ", "\t", "\n", "\r", "\v", "\xa0", "\ufeff", "\0", "/**/", "#")
_WORDS = (
    *("F32", "F4", "F6_E2M3", "F8_E8M0", "C64", "I16", "U64", "f32", "", "F32 "),
    *("data_offsets", "shape", "dtype", "__metadata__", "a", "\\u0061", "\\ud800"),
    *("\\ud83d\\ude00", "\\n", "\\x", "\x7f", "\x01"),
)
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+|[\[\]{},:]')

#: Changes the text of a header.
Edit = Callable[[str], str]


def _replaced(pattern: str, at: int, by: str) -> Edit:
    """Replace the ``at``-th match of a pattern, counted round and round."""

    def edit(text: str) -> str:
        found = list(re.finditer(pattern, text))
        if not found:
            return text
        match = found[at % len(found)]
        return text[: match.start()] + by + text[match.end() :]

    return edit


def _copied(first: int, second: int) -> Edit:
    """Put a token, or several, in the place of another."""

    def edit(text: str) -> str:
        tokens = list(_TOKENS.finditer(text))
        source = tokens[first % len(tokens)]
        target = tokens[second % len(tokens)]
        return text[: target.start()] + source[0] + text[target.end() :]

    return edit


def _spaced(at: int, space: str) -> Edit:
    """Put something that may be white space between two tokens."""

    def edit(text: str) -> str:
        tokens = list(_TOKENS.finditer(text))
        place = tokens[at % len(tokens)].start()
        return text[:place] + space + text[place:]

    return edit


def _respelled(at: int, spelling: str) -> Edit:
    """Write a number otherwise; most ways are no JSON, or no integer."""

    def edit(text: str) -> str:
        found = list(re.finditer(r"-?\d+", text))
        match = found[at % len(found)]
        number = spelling.format(match[0])
        return text[: match.start()] + number + text[match.end() :]

    return edit


def _escaped(at: int) -> Edit:
    """Write a letter of a string as an escape, which changes nothing."""

    def edit(text: str) -> str:
        found = list(re.finditer(r'[a-z](?=[^"]*"\s*[:,}\]])', text))
        if not found:
            return text
        match = found[at % len(found)]
        return f"{text[: match.start()]}\\u{ord(match[0]):04x}{text[match.end() :]}"

    return edit


_places = st.integers(0, 200)
_spellings = (
    "-{}",
    "{}.0",
    "{}e0",
    "{}E+0",
    "0{}",
    "+{}",
    "{} ",
    "\t{}",
    "{}\n",
    '"{}"',
)
#: Changes that a reader may overlook, and those that none should.
edits: st.SearchStrategy[Edit] = st.one_of(
    st.builds(_respelled, _places, st.sampled_from(_spellings)),
    st.builds(_escaped, _places),
    st.builds(_spaced, _places, st.sampled_from(_SPACES)),
    st.builds(_replaced, st.just(r"-?\d+"), _places, st.sampled_from(_NUMBERS)),
    st.builds(_replaced, st.just(r"-?\d+"), _places, st.integers(0, 48).map(str)),
    st.builds(
        _replaced,
        st.just(r'(?<=")(?:[^"\\]|\\.)*(?=")'),
        _places,
        st.sampled_from(_WORDS),
    ),
    st.builds(_copied, _places, _places),
    st.builds(_replaced, st.just(r"(?s)."), st.integers(0, 900), st.text(max_size=2)),
)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A sound file with one or two changes to its header, whose length is then what
    it says, or not; and perhaps one to its bytes."""
    length = int.from_bytes(SOUND[:8], "little")
    text, data = SOUND[8 : 8 + length].decode(), SOUND[8 + length :]
    for edit in draw(st.lists(edits, min_size=1, max_size=2)):
        text = edit(text)
    header = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 15)) == 0:
        data += draw(st.sampled_from([b"\0", bytes(8), bytes(1000)]))
    if draw(st.integers(0, 15)) == 0:
        length = draw(st.sampled_from([0, 1, length, length + 1, 2**63, 2**64 - 1]))
    else:
        length = len(header)
    blob = length.to_bytes(8, "little") + header + data
    if draw(st.integers(0, 7)) == 0:
        at, byte = draw(st.integers(0, len(blob) - 1)), draw(st.binary(max_size=2))
        blob = blob[:at] + byte + blob[at + 1 :]
    return blob


@st.composite
def pool_mutants(draw: st.DrawFn) -> bytes:
    """The golden file with one or two changes to its plan, and checksums that fit."""
    with container.read(v1.PATH) as file:
        text = file.metadata["wpool.plan"]
        data = v1.PATH.read_bytes()[file.header.data_byte :]
        stored = [
            (e.name, e.dtype.code, e.shape, data[e.begin_byte : e.end_byte])
            for e in file.entries.values()
        ]
    for edit in draw(st.lists(edits, min_size=1, max_size=2)):
        text = edit(text)
    return wpool(text.encode("utf-8", "replace").decode(), stored)
