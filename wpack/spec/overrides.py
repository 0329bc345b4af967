"""``--set key.path=value``: a spec changed from the command line.

The path is as :func:`wpack.spec.problems.dotted` writes one; the value is YAML on one
line.  What an override writes remembers it, so that later complaints name it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .nodes import HALF, Node, compose
from .problems import Place, Problem, dotted

# One key of a path and the sign that follows it.
_KEY = re.compile(r'(?:"([^"]*)"|([^".=\s]+))([.=])')


def apply(root: Node, overrides: Sequence[str]) -> list[Problem]:
    """Write ``overrides`` into the tree in place, in order; mappings that a path needs
    and that are not there are made.

    Returns:
        What is wrong with the overrides themselves.
    """
    problems: list[Problem] = []
    for rank, override in enumerate(overrides, 1):
        shown = override if override.isprintable() else repr(override)
        place = Place(rank, 0, 0, f"--set {shown[:120]}")
        keys, text = _parse(override)
        if HALF.search(override):
            problems.append(Problem(place, (), "is not valid Unicode"))
            continue
        if not keys:
            what = "should be key.path=value, such as finetune.epochs=5"
            problems.append(Problem(place, (), what))
            continue
        value, mistakes = compose(text.strip() or "null", place.source, rank)
        problems += [m._replace(path=(*keys, *m.path)) for m in mistakes]
        if value is not None and not mistakes:
            try:
                _write(root, keys, value)
            except ValueError as error:
                problems.append(Problem(place, (), str(error)))
    return problems


def _parse(override: str) -> tuple[list[str], str]:
    """The path's keys and the value's text; no keys for what is no override."""
    keys: list[str] = []
    at = 0
    while (found := _KEY.match(override, at)) is not None:
        keys.append(found[2] or found[1])
        at = found.end()
        if found[3] == "=":
            return keys, override[at:]
    return [], ""


def _write(root: Node, keys: Sequence[str], value: Node) -> None:
    """Put ``value`` at the path ``keys``.

    Raises:
        ValueError: A list has no such position, or a single value no such key.
    """
    node = root
    for depth, key in enumerate(keys):
        if node.value is None:
            node.value = {}
        is_last = depth == len(keys) - 1
        below = value if is_last else _child(node, key)
        if isinstance(node.value, dict):
            below = below or Node(value.place, {})
            node.value[key] = below
            node.keys[key] = value.place if is_last else node.keys.get(key, value.place)
        elif below is None or _child(node, key) is None:
            raise ValueError(_no_place(node, keys[:depth], key))
        else:
            node.value[int(key)] = below
        node = below


def _child(node: Node, key: str) -> Node | None:
    is_position = isinstance(node.value, list) and key.isdecimal()
    return node.child(int(key) if is_position else key)


def _no_place(node: Node, owner: Sequence[str], key: str) -> str:
    name, key = dotted(tuple(owner)) or "the spec", dotted((key,))
    if isinstance(node.value, list):
        return f"{name} is a list of {len(node.value)}, it has no place {key}"
    return f"{name} is a single value, it has no key {key}"
