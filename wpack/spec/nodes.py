"""YAML text → nodes that know where they stand.

Strict where YAML is generous: one document, no anchors, aliases, merge keys or tags,
keys that are text and stand once, bounded depth and size.  The walk is over the
parser's events, so an alias bomb or a deep nest costs what its text costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from . import scalars
from .problems import Key, KeyPath, Place, Problem, position, shown

#: Levels of lists and mappings; a spec has no use for half of them.
MAX_DEPTH = 32
#: Scalars, lists and mappings: a spec that names every tensor of a large model has a
#: tenth, and a text that has more is refused before it costs time.
MAX_VALUES = 50_000
#: Size of a spec's text in bytes of UTF-8.
MAX_BYTES = 1 << 20

# libyaml's parser where PyYAML was built with it: the same events, 20 times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Everything YAML 1.2 calls printable, but no byte order mark inside the text.
_UNPRINTABLE = re.compile(
    "[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
#: Half a character: what UTF-8 cannot write.
HALF = re.compile("[\ud800-\udfff]")
_NO_CHARACTER = "found invalid Unicode character escape code"
_TAB = re.compile(r"^ *\t", re.MULTILINE)


@dataclass(slots=True)
class Node:
    """A value and its place.

    Attributes:
        value: A scalar, a list of nodes, or a dict from key to node.
        keys: Places of the keys, for a mapping.
        spoiled: The value could not be made out and its problem is on record, so that
            no other problem need be reported here.
    """

    place: Place
    value: Any
    keys: dict[str, Place] = field(default_factory=dict)
    spoiled: bool = False

    def plain(self) -> Any:
        """The value as Python has it: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def child(self, key: Key) -> Node | None:
        """The node under ``key`` (a mapping) or at position ``key`` (a list)."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int):
            return self.value[key] if 0 <= key < len(self.value) else None
        return None


def compose(text: str, source: str, rank: int = 0) -> tuple[Node | None, list[Problem]]:
    """Parse YAML text.

    Args:
        text: The document, without a byte order mark.
        source: Its name in messages; with ``rank`` 0 these are ``source:line:column``.
        rank: See :class:`Place`; above 0 every node's place is the source as a whole.

    Returns:
        The root, or None where the text is no YAML at all, and every problem found.
    """
    if (problem := _unreadable(text, source, rank)) is not None:
        return None, [problem]
    composer = _Composer(source, rank)
    try:
        root = composer.document(_events(text))
    except yaml.MarkedYAMLError as error:
        composer.problems.append(_syntax_problem(error, text, composer))
        root = None
    except ValueError:  # Without libyaml, from an escape above all characters.
        place = position("", 0, source, rank)
        composer.problems.append(Problem(place, (), f"not valid YAML: {_NO_CHARACTER}"))
        root = None
    except _GivenUp:
        root = None
    return root, composer.problems


def _unreadable(text: str, source: str, rank: int) -> Problem | None:
    """What stands in the way of parsing at all: size, control characters, tabs."""
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        what = f"longer than {MAX_BYTES} bytes, which no spec needs"
        return Problem(position("", 0, source, rank), (), what)
    if (found := _UNPRINTABLE.search(text)) is not None:
        place = position(text, found.start(), source, rank)
        name = "NUL" if found[0] == "\0" else f"control U+{ord(found[0]):04X}"
        return Problem(place, (), f"a {name} character; a spec is printable text")
    if (found := _TAB.search(text)) is not None:
        place = position(text, found.end() - 1, source, rank)
        return Problem(place, (), "a tab in the indentation; YAML takes spaces only")
    return None


def _events(text: str) -> Iterator[Any]:
    """The parser's events; an escape for half a character, which only libyaml refuses,
    is no YAML."""
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.ScalarEvent) and HALF.search(event.value):
            context = "while parsing a quoted scalar"
            mark: Any = event.start_mark
            raise yaml.MarkedYAMLError(context, None, _NO_CHARACTER, mark)
        yield event


class _GivenUp(Exception):
    """Parsing was given up; the problem is on record."""


class _Composer:
    """Builds nodes from events and notes every problem on the way."""

    def __init__(self, source: str, rank: int) -> None:
        self.source, self.rank = source, rank
        self.problems: list[Problem] = []
        self.values = 0

    def document(self, events: Iterator[Any]) -> Node | None:
        """The one document of a stream."""
        root = None
        for event in events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            if root is not None:
                what = "a second document; a spec is one"
                self.problems.append(Problem(self.place(event.start_mark), (), what))
                break
            root = self.node(next(events), events, ())
        if root is None:
            place = position("", 0, self.source, self.rank)
            self.problems.append(Problem(place, (), "is empty"))
        return root

    def place(self, mark: Any) -> Place:
        if self.rank:
            return Place(self.rank, 0, 0, self.source)
        return Place(0, mark.line + 1, mark.column + 1, self.source)

    def node(self, event: Any, events: Iterator[Any], path: KeyPath) -> Node:
        node = Node(self.place(event.start_mark), None)
        self.values += 1
        if len(path) > MAX_DEPTH:
            self.give_up(node, f"nested deeper than {MAX_DEPTH} levels")
        if self.values > MAX_VALUES:
            self.give_up(node, f"more than {MAX_VALUES} values")
        if isinstance(event, yaml.AliasEvent):
            self.spoil(node, path, _no_alias(f"*{event.anchor}"))
            return node
        if event.anchor is not None:
            self.note(node, path, f"anchors (&{event.anchor}) are not supported")
        if isinstance(event, yaml.ScalarEvent):
            node.value = self.scalar(event, node, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = self.items(events, path)
        else:
            node.value = self.entries(node, events, path)
        if event.tag is not None:
            tag = shown(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self.spoil(node, path, f"tags ({tag}) are not supported")
        return node

    def scalar(self, event: Any, node: Node, path: KeyPath) -> Any:
        if not event.implicit[0]:
            return event.value
        try:
            return scalars.resolve(event.value)
        except ValueError as error:
            self.spoil(node, path, str(error))
            return None

    def items(self, events: Iterator[Any], path: KeyPath) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self.node(event, events, (*path, len(items))))
        return items

    def entries(
        self, node: Node, events: Iterator[Any], path: KeyPath
    ) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.key(event, events, path)
            value = self.node(
                next(events), events, (*path, "?" if key is None else key)
            )
            if key is None:
                continue
            place = self.place(event.start_mark)
            if key in entries:
                line = node.keys[key].line
                what = "the key stands twice" + (
                    f", first on line {line}" if line else ""
                )
                self.problems.append(Problem(place, (*path, key), what))
            else:
                entries[key], node.keys[key] = value, place
        return entries

    def key(self, event: Any, events: Iterator[Any], path: KeyPath) -> str | None:
        """A key's text, or None for one that a spec cannot have."""
        if isinstance(event, yaml.ScalarEvent):
            if event.tag is None and event.anchor is None:
                if event.value != "<<" or not event.implicit[0]:
                    return str(event.value)
            what = "merge keys (<<) are not supported"
            if event.value != "<<":
                what = "anchors and tags are not supported"
        elif isinstance(event, yaml.AliasEvent):
            what = _no_alias(f"*{event.anchor}")
        else:
            self.node(event, events, (*path, "?"))
            what = "a key must be text, not a list or a mapping"
        self.problems.append(Problem(self.place(event.start_mark), path, what))
        return None

    def give_up(self, node: Node, what: str) -> NoReturn:
        self.note(node, (), f"{what}, which no spec needs")
        raise _GivenUp

    def note(self, node: Node, path: KeyPath, what: str) -> None:
        self.problems.append(Problem(node.place, path, what))

    def spoil(self, node: Node, path: KeyPath, what: str) -> None:
        self.note(node, path, what)
        node.spoiled = True


def _no_alias(alias: str) -> str:
    return (
        f"aliases ({alias}) are not supported; put a pattern that begins with * in"
        " quotes"
    )


def _syntax_problem(
    error: yaml.MarkedYAMLError, text: str, composer: _Composer
) -> Problem:
    """The parser's complaint; for an unquoted glob, what its writer needs to know."""
    if error.context_mark is not None and error.context == "while scanning an alias":
        what = 'a pattern that begins with * needs quotes: "*.weight"'
        return Problem(composer.place(error.context_mark), (), what)
    context = f" {error.context}" if error.context else ""
    what = f"not valid YAML: {error.problem}{context}"
    return Problem(composer.place(error.problem_mark or error.context_mark), (), what)
