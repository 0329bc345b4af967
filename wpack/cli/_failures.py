"""How a command ends: its exit status, and what stderr says about it."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from ..errors import SpecError, StorageError, UsageError, WpackError
from ..report.names import printable
from ..stopping import Elsewhere, Interrupted
from . import _environment
from ._settings import Settings
from ._signals import Ended

#: What shells give a process that a signal ended: 128 and the signal's number.
INTERRUPTED = 130
BROKEN_PIPE = 141

#: Lines of an error; a spec's mistakes all come, one a line.
_MAX_LINES = 3


@contextmanager
def leaving(settings: Settings) -> Iterator[None]:
    """Run the body, then leave with its exit status.

    Raises:
        SystemExit: Always.
    """
    status = 0
    try:
        yield
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException as error:
        status = _status(error, settings)
    _drop_unwritten()
    sys.exit(status)


def _status(error: BaseException, settings: Settings) -> int:
    """Say what went wrong, and give the exit status for it."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, Ended):
        return int(error.code or 0)
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if isinstance(error, KeyboardInterrupt | click.Abort):
        settings.say("interrupted")
        return INTERRUPTED
    found = _in_words(error)
    if _environment.follows() and _is_told(found):
        return found.exit_code
    with suppress(OSError):  # There is no other stream to complain on.
        if isinstance(error, click.exceptions.NoArgsIsHelpError):
            error.show()
        else:
            _trace(error, settings)
            _print(found, settings)
    return found.exit_code


def _is_told(error: WpackError) -> bool:
    """Whether the first of several processes says the same."""
    return isinstance(error, Interrupted) or isinstance(error.__cause__, Elsewhere)


def _in_words(error: BaseException) -> WpackError:
    """Any failure as one that says what, where and how to fix it."""
    if isinstance(error, WpackError):
        return error
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, OSError):
        what = error.strerror or str(error) or type(error).__name__
        return StorageError(what, where=error.filename)
    if isinstance(error, SystemExit):
        what = f"the code that was run, a task perhaps, called sys.exit({error.code!r})"
        return WpackError(what, hint="--debug shows where")
    if isinstance(error, MemoryError):
        return StorageError("out of memory")
    first = next(iter(str(error).splitlines()), "")
    return WpackError(
        f"{type(error).__name__}: {first}",
        where="internal error",
        hint="--debug shows where; please report it",
    )


def _usage(error: click.ClickException) -> WpackError:
    what = error.format_message()
    variable = None
    if isinstance(error, click.BadParameter):
        variable = _environment.variable(error)
        what = error.message if variable else what
    context = getattr(error, "ctx", None)
    hint = f"See '{context.command_path} --help'" if context else ""
    # A hint starts a sentence of its own.
    return UsageError(what.rstrip("."), where=variable, hint=hint)


def _trace(error: BaseException, settings: Settings) -> None:
    """The traceback with ``--debug``; with ``-v`` that of the cause, such as a mistake
    in the user's own task."""
    if settings.debug:
        traceback.print_exception(error)
    elif settings.verbose and error.__cause__ is not None:
        traceback.print_exception(error.__cause__)


def _print(error: WpackError, settings: Settings) -> None:
    if settings.json:
        print(json.dumps({"error": _document(error)}), file=sys.stderr, flush=True)
        return
    for line in _lines(error):
        print(f"wpack: error: {printable(line)}", file=sys.stderr, flush=True)


def _lines(error: WpackError) -> list[str]:
    if isinstance(error, SpecError):
        return list(error.problems)
    # A path may have line ends in it, which are none of the message's.
    place = "" if error.where is None else f"{printable(error.where)}: "
    hint = f". {error.hint}" if error.hint else ""
    # click's suggestions end in a question mark of their own.
    text = f"{place}{error.what}{hint}".replace("?. ", "? ")
    return text.splitlines()[:_MAX_LINES]


def _document(error: WpackError) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "code": type(error).__name__,
        "path": error.where,
        "message": error.what,
        "hint": error.hint or None,
    }
    if isinstance(error, SpecError):
        fields["problems"] = list(error.problems)
    return fields


def _drop_unwritten() -> None:
    """Let go of what a full or closed stream did not take: the interpreter would try
    again when it ends, complain, and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
