"""SIGINT, SIGTERM and SIGUSR1: end at once, or after the step that is running."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from . import _environment

#: What shells give a process that a signal ended: 128 and the signal's number.
_BASE = 128
#: What asks training to end.  Batch systems announce the end of a job's time with a
#: signal of one's choice, often SIGUSR1: it is a SIGTERM that leaves more time.
_ASKING = {signal.SIGINT: _BASE + signal.SIGINT, signal.SIGTERM: _BASE + signal.SIGTERM}
if hasattr(signal, "SIGUSR1"):  # not on Windows
    _ASKING[signal.SIGUSR1] = _BASE + signal.SIGTERM
#: Seconds in which a signal that comes twice is one that was passed on.
_SAME = 2.0
_NOTED = b"wpack: stopping after this step; another signal stops at once\n"
_Handler = Callable[[int, FrameType | None], object]


class Ended(SystemExit):
    """A signal ended the process; nobody else's ``sys.exit`` is mistaken for it."""


@contextmanager
def ending() -> Iterator[None]:
    """SIGTERM ends the body as SIGINT does, by an exception, so that temporary files
    are removed; the exit status is 143."""
    with _handling({signal.SIGTERM: _leave}):
        yield


@contextmanager
def finishing() -> Iterator[Callable[[], int]]:
    """The first SIGINT, SIGTERM or SIGUSR1 is only noted, so that the work ends where
    it can be resumed; the second ends it at once.

    Under torchrun, one that comes right after the first is the same one: it passes on
    what a batch system or a terminal may have sent to all processes already.

    Yields:
        A function that gives 0, or the exit status to end with once a signal came.
    """
    status, at = 0, 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal status, at
        if status:
            if _environment.is_one_of_several() and time.monotonic() - at < _SAME:
                return
            raise Ended(_ASKING[signal.Signals(number)])
        status, at = _ASKING[signal.Signals(number)], time.monotonic()
        if _environment.follows():
            return
        # Not print: the signal may have come in the middle of one.  On a terminal
        # there is a progress bar in this line.
        with suppress(OSError):
            os.write(2, (b"\n" if os.isatty(2) else b"") + _NOTED)

    with _handling(dict.fromkeys(_ASKING, note)):
        yield lambda: status


def _leave(number: int, frame: FrameType | None) -> None:
    raise Ended(_BASE + number)


@contextmanager
def _handling(handlers: dict[signal.Signals, _Handler]) -> Iterator[None]:
    """Install handlers for the body.  A signal that is ignored stays so (``nohup``),
    and only a main thread may have handlers."""
    old: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                old[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
