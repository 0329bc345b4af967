"""What a report looks like on a stream, as text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Wide enough for anything: what reads a pipe wants whole names and no line breaks.
_PIPE_WIDTH = 1_000_000


def console(stream: TextIO, *, color: bool = True) -> Console:
    """A console on ``stream`` that takes text literally.

    On a terminal it is as wide as that, elsewhere lines end where they end.  Neither
    ``color=False`` nor ``NO_COLOR`` lets any escape sequence through.
    """
    from rich.console import Console

    plain = not color or bool(os.environ.get("NO_COLOR"))
    found = Console(
        file=stream,
        color_system=None if plain else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _PIPE_WIDTH
    return found


def text(renderable: object, stream: TextIO, *, color: bool = True) -> str:
    """What ``renderable`` looks like on ``stream``.

    Nothing is written: rich would answer a broken pipe with an exit of its own.
    """
    target = console(stream, color=color)
    with target.capture() as captured:
        target.print(renderable, crop=False)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
