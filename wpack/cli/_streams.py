"""Standard streams that cannot surprise: closed ones, other encodings, warnings."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import suppress
from io import TextIOWrapper

from ..report.names import printable


def prepare() -> None:
    """Make the process's streams safe to use; called once, before anything is opened.

    What an encoding cannot write is written as an escape.  A closed descriptor is
    taken by ``/dev/null``, opened the wrong way round, so that no file of ours lands
    on it and that using it is still an error.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free descriptor is this one, since those below it are taken.
            os.open(os.devnull, flags)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _show


def _show(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line of ours; where in the code it arose helps nobody."""
    with suppress(OSError):
        lines = str(message).splitlines() or [type(message).__name__]
        line = f"wpack: warning: {printable(lines[0])}"
        print(line, file=sys.stderr, flush=True)
