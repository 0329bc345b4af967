"""Names from files, made fit to print: escaped, shortened, gathered."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile

from ..names import printable as printable

_NUMBER = re.compile(r"(\d+)")
_GAP = "..."


def shorten(text: str, width: int) -> str:
    """``text`` in at most ``width`` cells, its middle left out: a tensor's name says
    most at its two ends."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    if width <= len(_GAP):
        return _GAP[:width]
    tail = (width - len(_GAP)) // 2
    head = width - len(_GAP) - tail
    end = set_cell_size(text[::-1], tail)[::-1] if tail else ""
    return set_cell_size(text, head) + _GAP + end


def gathered(names: Iterable[str]) -> list[str]:
    """Names that differ in one number only, written as one.

    >>> gathered(["blocks.0.fc.weight", "blocks.1.fc.weight", "head.weight"])
    ['blocks.{0-1}.fc.weight', 'head.weight']
    """
    groups: dict[tuple[str, ...], list[list[str]]] = {}
    for name in dict.fromkeys(names):
        fields = _NUMBER.split(name)
        # Text stands at even places and numbers at odd ones.
        groups.setdefault(tuple(fields[::2]), []).append(fields)
    return [line for alike in groups.values() for line in _merged(alike)]


def folded(names: Sequence[str]) -> str:
    """Names in one line, with the beginning and the end that all have written once.

    >>> folded(["blocks.0.fc1.weight", "blocks.1.fc2.weight"])
    'blocks.{0.fc1, 1.fc2}.weight'
    """
    if len(names) < 2:
        return "".join(names)
    fields = [name.split(".") for name in names]
    limit = min(map(len, fields)) - 1
    head = _alike([f[:limit] for f in fields])
    tail = _alike([f[head:][::-1][: limit - head] for f in fields])
    if not head + tail:
        return ", ".join(names)
    inner = [".".join(f[head : len(f) - tail]) for f in fields]
    before, after = fields[0][:head], fields[0][len(fields[0]) - tail :]
    return ".".join([*before, "{" + ", ".join(inner) + "}", *after])


def _alike(rows: Sequence[Sequence[str]]) -> int:
    """How many first fields all rows have in common."""
    columns = zip(*rows, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _merged(alike: Sequence[list[str]]) -> list[str]:
    places = range(1, len(alike[0]), 2)
    varying = [i for i in places if len({fields[i] for fields in alike}) > 1]
    if len(varying) != 1:
        return ["".join(fields) for fields in alike]
    (place,) = varying
    fields = list(alike[0])
    fields[place] = "{" + _ranges([f[place] for f in alike]) + "}"
    return ["".join(fields)]


def _ranges(numbers: Sequence[str]) -> str:
    """``0-3,5`` for 0, 1, 2, 3, 5; numbers written unusually (``007``) stay apart."""
    runs: list[tuple[str, str]] = []
    for number in numbers:
        if runs and len(runs[-1][1]) < 19 and str(int(runs[-1][1]) + 1) == number:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(a if a == b else f"{a}-{b}" for a, b in runs)


def without_folder(paths: Sequence[str]) -> list[str]:
    """The paths as they are shown, without their folder if it is the same."""
    if len({os.path.dirname(path) for path in paths}) == 1:
        paths = [os.path.basename(path) or path for path in paths]
    return [printable(path) for path in paths]
