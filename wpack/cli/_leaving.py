"""How one of several processes ends."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from . import _environment


@contextmanager
def at_once() -> Iterator[None]:
    """Where torchrun has started several processes, end with the body's exit status and
    without taking the interpreter down.

    A thread of gloo's may still let go of the last message's tensors.  While Python is
    being taken down it cannot, and aborts; torchrun then reports a run that has done
    its work as failed, and kills the others.
    """
    try:
        yield
    except SystemExit as end:
        if not _environment.is_one_of_several() or not isinstance(end.code, int | None):
            raise
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(end.code or 0)
