"""Mistakes in a spec: where they stand, and how they are told."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

Key = str | int
#: Keys and positions from the root down: ``("pools", "main", "tensors", 0)``.
KeyPath = tuple[Key, ...]

_PLAIN_KEY = re.compile(r"[^\s.\"=]+")


class Place(NamedTuple):
    """Where something was written; places sort in reading order.

    Attributes:
        rank: 0 for the spec's text; 1, 2, … for the overrides that follow it.
        line: From 1; 0 where lines do not apply (an override).
        column: From 1.
        source: The file's name, or the override as it was given.
    """

    rank: int
    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class Problem(NamedTuple):
    """One mistake: its place, the path of the value and what is wrong with it."""

    place: Place
    path: KeyPath
    what: str

    def __str__(self) -> str:
        path = f"{dotted(self.path)}: " if self.path else ""
        return f"{self.place}: {path}{self.what}"


def dotted(path: KeyPath) -> str:
    """``pools.main.tensors.0``; a key with a dot, blank or quote in it is quoted, as
    ``--set`` takes it."""
    return ".".join(str(k) if isinstance(k, int) else _key(k) for k in path)


def _key(key: str) -> str:
    if len(key) <= 80 and key.isprintable():
        return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key, ensure_ascii=False)
    return shown(key)


def shown(value: Any) -> str:
    """A value as a message quotes it: as YAML has it, and short."""
    if isinstance(value, dict | list | tuple):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…{text[-1]}"


def position(text: str, at: int, source: str, rank: int = 0) -> Place:
    """The place of character ``at``; lines end with LF, CRLF or CR."""
    if rank:
        return Place(rank, 0, 0, source)
    lines = re.split(r"\r\n|\r|\n", text[:at])
    return Place(0, len(lines), len(lines[-1]) + 1, source)


def report(problems: Sequence[Problem], most: int = 100) -> list[str]:
    """The problems in reading order, as text; past ``most`` only their number."""
    texts = [str(problem) for problem in sorted(set(problems), key=_reading_order)]
    if len(texts) > most:
        texts[most:] = [f"… and {len(texts) - most} more"]
    return texts


def _reading_order(problem: Problem) -> tuple[Place, str, str]:
    return problem.place, dotted(problem.path), problem.what


def several(names: Sequence[str]) -> str:
    """``'a'``, or ``'a' and 3 more``."""
    more = len(set(names)) - 1
    return f"{shown(names[0])}" + (f" and {more} more" if more else "")


def reasons(found: Sequence[str]) -> str:
    """Why none of a pattern's matches can be claimed."""
    if len(found) == 1:
        return f"the tensor is {found[0]}"
    counts = Counter(found).most_common()
    return f"its matches are {', '.join(f'{why} ({n})' for why, n in counts)}"
