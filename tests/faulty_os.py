"""An ``os`` that fails, or ends the process, at a call that a test chooses."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

#: Calls that change something, or make it last.
WATCHED = (
    "open",
    "posix_fallocate",
    "ftruncate",
    "pwrite",
    "fchown",
    "fchmod",
    "fsync",
    "dup",
    "close",
    "replace",
    "unlink",
)


class FaultyOs:
    """Passes calls on to ``os``, all but one.

    Args:
        fail_at: Number of the watched call that fails, from 0.
        code: The errno it fails with; None ends the process as ``kill -9`` does.
        missing: Functions that this ``os`` does not have.
    """

    def __init__(
        self,
        fail_at: int = -1,
        code: int | None = errno.EIO,
        missing: tuple[str, ...] = (),
    ) -> None:
        self.calls: list[str] = []
        self.opened: list[str] = []
        self._fail_at = fail_at
        self._code = code
        self._missing = missing

    def __getattr__(self, name: str) -> Any:
        if name in self._missing:
            raise AttributeError(name)
        real = getattr(os, name)
        if name not in WATCHED:
            return real

        def call(*args: Any) -> Any:
            self.calls.append(name)
            if name == "open":
                self.opened.append(args[0])
            if len(self.calls) - 1 == self._fail_at:
                if self._code is None:
                    os.kill(os.getpid(), signal.SIGKILL)
                assert self._code is not None
                raise OSError(self._code, os.strerror(self._code))
            return real(*args)

        return call
