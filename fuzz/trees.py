"""Changes to JSON: to what a document says, and to how it is spelled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from random import Random
from typing import Any

#: Numbers at which something begins or ends.
NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 4095, 4096),
    *(65535, 65536, 1 << 31, 1 << 32, (1 << 53) + 1, (1 << 63) - 1, 1 << 63),
    *((1 << 64) - 1, 1 << 64, 10**30, -1),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "0", 1.5, 1e300, [], {}, [[]], {"": 0}, "\0", "\ud800"),
    *("\u202e\u2028\x1b[2J\n\x85", "x" * 5000, "é", "😀", "__x", "pool/x", "a/../b"),
)
_ODD_SPELLINGS = (
    *("-0", "00", "01", "1.0", "1e2", "1E400", "+1", "0x8", "1_0", "9" * 5000),
    *("NaN", "Infinity", "-Infinity", "nul", "'a'", '"\\u0061"', '"\\ud800"', '"\\x"'),
    *("[" * 3000, "{" * 100, "//", "\ufeff", "\0", "\xa0", "\t\n", "[]", "{}", "null"),
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[-+.\w]+|[\[\]{},:]')

#: A container, and a key or position in it.
Place = tuple[Any, Any]


def places(tree: Any) -> Iterator[Place]:
    """Everywhere in a tree that a value stands."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict | list):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            for key in keys:
                yield node, key
                nodes.append(node[key])


def changed(tree: Any, other: Any, random: Random, words: Sequence[str]) -> Any:
    """A copy of a tree with one to three changes, perhaps with pieces of another's."""
    tree = {"": deepcopy(tree)}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        found = list(places(tree))
        if not found:
            break
        if len(found) > 1 and random.random() < 0.95:
            found = found[1:]  # All but the root.
        _change(random.choice(found), found, other, random, words)
    return tree.get("")


def _change(
    place: Place, found: list[Place], other: Any, random: Random, words: Sequence[str]
) -> None:
    node, key = place
    value = node[key]
    choice = random.randrange(9)
    if choice < 2:
        node[key] = _nudged(value, random, words)
    elif choice == 2:
        node[key] = deepcopy(random.choice((*NUMBERS, *_ODD_VALUES)))
    elif choice == 3:
        owner, name = random.choice(found)
        if name in owner if isinstance(owner, dict) else name < len(owner):
            node[key] = deepcopy(owner[name])
    elif choice == 4:
        donors = list(places({"": other}))
        owner, name = random.choice(donors)
        node[key] = deepcopy(owner[name])
    elif choice == 5:
        node[key] = random.choice(words)
    elif isinstance(node, list):
        _change_list(node, key, random)
    else:
        _change_keys(node, key, random, words)


def _nudged(value: Any, random: Random, words: Sequence[str]) -> Any:
    """A value of the same kind, near the old one."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        steps = (value + 1, value - 1, value * 2, value // 2, -value)
        return random.choice((*steps, random.choice(NUMBERS), random.randrange(100)))
    if isinstance(value, float):
        return random.choice((value * 2, -value, value + 1, 0.0, 1.0))
    if isinstance(value, str):
        at = random.randint(0, len(value))
        insert = random.choice((*"a.#*/0\\", "", random.choice(words)))
        return value[:at] + insert + value[at + random.randint(0, 2) :]
    if isinstance(value, list):
        return random.choice((value * 2, value[::-1], [value], value[1:]))
    return random.choice(([value], dict(reversed(value.items()))))


def _change_list(items: list[Any], at: int, random: Random) -> None:
    choice = random.randrange(3)
    if choice == 0:
        del items[at]
    elif choice == 1:
        items.insert(random.randint(0, len(items)), deepcopy(items[at]))
    else:
        random.shuffle(items)


def _change_keys(
    fields: dict[Any, Any], key: Any, random: Random, words: Sequence[str]
) -> None:
    if random.random() < 0.4:
        del fields[key]
    elif random.random() < 0.5:
        fields[random.choice(words)] = deepcopy(fields[key])
    else:
        fields[_nudged(key, random, words)] = fields.pop(key)


def respelled(text: str, random: Random, words: Sequence[str]) -> str:
    """The text of a document with one of its tokens written otherwise, doubled, moved
    or gone."""
    tokens = list(_TOKEN.finditer(text))
    if not tokens:
        return random.choice(_ODD_SPELLINGS)
    token = random.choice(tokens)
    by = random.choice(
        (
            random.choice(_ODD_SPELLINGS),
            json.dumps(random.choice(words)),
            random.choice(tokens)[0],
            token[0] * 2,
            "",
        )
    )
    return text[: token.start()] + by + text[token.end() :]


def parsed(text: str | bytes) -> Any:
    """What a text says to a reader that lets everything pass, or None."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def spelled(tree: Any, random: Random) -> str:
    """A tree as text, in one of the ways that writers have."""
    separators = random.choice(((",", ":"), (", ", ": ")))
    return json.dumps(tree, separators=separators)


def mutated(text: str, other: str, random: Random, words: Sequence[str]) -> str:
    """A document changed in what it says, or in how that is spelled."""
    tree = parsed(text)
    if tree is None or random.random() < 0.2:
        return respelled(text, random, words)
    return spelled(changed(tree, parsed(other), random, words), random)
