"""Files on the command line, and ``-`` for the standard streams."""

from __future__ import annotations

import glob
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from ..errors import UsageError

DASH = "-"


def expanded(files: Sequence[str]) -> list[str]:
    """The files, with the patterns that Windows' shells pass on replaced by what they
    match."""
    if os.name != "nt":
        return list(files)
    return [path for given in files for path in (sorted(glob.glob(given)) or [given])]


@contextmanager
def inputs(files: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
    """Files to read, with stdin spooled to a temporary one: a format with an index
    cannot be read front to back.

    Yields:
        For each file what to call it and the path to open.
    """
    with ExitStack() as stack:
        yield [
            (given, _spooled(stack) if given == DASH else given)
            for given in expanded(files)
        ]


@contextmanager
def target(path: str) -> Iterator[str]:
    """Where to write what is to become ``path``; ``-`` is stdout, which gets the bytes
    once they are whole.

    Raises:
        UsageError: stdout is a terminal.
    """
    if path != DASH:
        yield path
        return
    if sys.stdout.isatty():
        raise UsageError("stdout is a terminal", where="-o -", hint="Name a file")
    with TemporaryDirectory(prefix="wpack-") as folder:
        made = os.path.join(folder, "stdout")
        yield made
        with open(made, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)


def _spooled(stack: ExitStack) -> str:
    if sys.stdin is None:
        raise UsageError("stdin is closed", where=DASH)
    folder = stack.enter_context(TemporaryDirectory(prefix="wpack-"))
    path = os.path.join(folder, "stdin")
    with open(path, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return path
