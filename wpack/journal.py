"""A run's log: JSON lines, each with the system before the next step, one writer at a
time."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import StorageError, UsageError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    # It refuses to rename a folder that another process uses.
    fcntl = None  # type: ignore[assignment]

#: More bytes than any line of a log has.
_LINE_BYTES = 1 << 20


class Journal:
    """``log.jsonl``, open for adding; its lock is the run folder's.

    Every line in it is whole: one that a kill or a full disk cut short is taken back.

    Args:
        os_: Stands in for the ``os`` module, for tests that make its calls fail.

    Raises:
        UsageError: Another process holds the lock.
        StorageError: The operating system refused.
    """

    def __init__(self, path: Path, *, os_: Any = os) -> None:
        self.path = path
        self._os = os_
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        for name in ("O_CLOEXEC", "O_BINARY"):
            flags |= getattr(os, name, 0)
        try:
            self._fd = int(os_.open(path, flags, 0o666))
        except OSError as error:
            raise self._refusal(error) from error
        try:
            if fcntl:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._fd)
            raise UsageError(
                "another process is writing to this run",
                where=path.parent,
                hint="Wait for it to end, or name another folder: --run",
            ) from None
        except OSError:
            pass  # a filesystem without locks
        with suppress(OSError):
            self._take_back()

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one line: the record and the time, in seconds since 1970.

        Numbers that are not finite become null, which JSON has a word for.

        Raises:
            StorageError: The operating system refused; the log is as it was.
        """
        line = _finite({"time": round(time.time(), 3), **record})
        left = json.dumps(line, allow_nan=False).encode() + b"\n"
        try:
            while left:
                left = left[self._os.write(self._fd, left) :]
        except OSError as error:
            with suppress(OSError):
                self._take_back()
            raise self._refusal(error) from error

    def close(self) -> None:
        """Close the file and give up the lock."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            # Whatever did not reach the file has been told of.
            with suppress(OSError):
                self._os.close(fd)

    def _take_back(self) -> None:
        """Cut off what follows the last whole line."""
        size = os.fstat(self._fd).st_size
        os.lseek(self._fd, max(0, size - _LINE_BYTES), os.SEEK_SET)
        tail = os.read(self._fd, _LINE_BYTES)
        half = len(tail) - (tail.rfind(b"\n") + 1)
        if half:
            os.ftruncate(self._fd, size - half)

    def _refusal(self, error: OSError) -> StorageError:
        return StorageError(f"cannot be written: {error.strerror}", where=self.path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
