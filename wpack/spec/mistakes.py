"""From pydantic's complaints to messages with a place, a rule and a way out."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from .nodes import Node
from .problems import KeyPath, Place, Problem, shown

#: What pydantic calls a mistake → what a spec's writer calls it; ``{…}`` comes from
#: the mistake's own context.
_RULES = {
    "dict_type": "should be a mapping of keys to values",
    "mapping_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
    "tuple_type": "should be a list",
    "string_type": "should be text",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "bool_type": "should be true or false",
    "finite_number": "should be a finite number",
    "greater_than": "should be above {gt}",
    "greater_than_equal": "should be {ge} or more",
    "less_than": "should be below {lt}",
    "less_than_equal": "should be {le} or less",
    "literal_error": "should be {expected}",
    "too_short": "needs {min_length} or more, has {actual_length}",
    "too_long": "takes {max_length} at most, has {actual_length}",
    "string_too_short": "should not be empty",
}


def closest(word: Any, known: Iterable[str]) -> str | None:
    """The known word that ``word`` most likely means; itself, where it is one."""
    matches = difflib.get_close_matches(str(word), list(known), 1)
    return matches[0] if matches else None


def unknown(kind: str, word: Any, known: Iterable[str]) -> str:
    """``unknown key 'raito', did you mean 'ratio'?``, or a list of what there is."""
    known = list(known)
    close = closest(word, known)
    hint = f", did you mean {close!r}?" if close else f" (known: {', '.join(known)})"
    return f"unknown {kind} {shown(word)}{hint}"


def whole(what: str) -> PydanticCustomError:
    """A mistake of a mapping as a whole, found by the check of one of its fields."""
    return PydanticCustomError("whole", "{what}", {"what": what})


def problems_of(
    error: ValidationError,
    root: Node | None,
    source: str,
    keys_at: Callable[[KeyPath], Iterable[str]],
) -> list[Problem]:
    """Every mistake of a validation, at its place.

    Args:
        root: What was validated; without one, ``source`` is every mistake's place.
        keys_at: The keys that the mapping at a path may have.
    """
    problems: list[Problem] = []
    for details in error.errors(include_url=False):
        path = tuple(details["loc"])
        of_key = path[-1:] == ("[key]",)
        path = path[:-1] if of_key else path
        kind, context = details["type"], details.get("ctx", {})
        if kind == "too_short" and len(details["input"]) >= context["min_length"]:
            continue  # Enough entries, and each has a problem of its own.
        if kind == "extra_forbidden":
            what = unknown("key", path[-1], keys_at(path[:-1]))
        elif kind == "whole":
            path, what = path[:-1], details["msg"]
        else:
            what = _rule(details)
        of_key = of_key or kind in ("extra_forbidden", "whole")
        place = place_of(root, path, source, of_key=of_key)
        if place is not None:
            problems.append(Problem(place, path, what))
    return problems


def _rule(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind not in _RULES:
        return details["msg"]
    rule = _RULES[kind].format(**{k: _brief(v) for k, v in context.items()})
    if kind.startswith(("too_", "string_too_")):
        return rule
    return f"{rule}, not {shown(details['input'])}"


def _brief(limit: Any) -> Any:
    """1 for 1.0: a limit as its user would write it."""
    is_whole = isinstance(limit, float) and limit.is_integer()
    return int(limit) if is_whole else limit


def place_of(
    root: Node | None, path: KeyPath, source: str, *, of_key: bool = False
) -> Place | None:
    """Where the value at ``path`` stands, or its key; where it is absent, the nearest
    key above it; None where a problem of that value is on record already."""
    if root is None:
        return Place(0, 0, 0, source)
    node, place = root, root.place
    for key in path:
        if node.spoiled:
            return None
        place = node.keys.get(str(key), place)
        if (below := node.child(key)) is None:
            return place if isinstance(node.value, dict) else node.place
        node = below
    if of_key:
        return place
    return None if node.spoiled else node.place
