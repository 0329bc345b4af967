"""A run's log: JSON lines, each on disk before the next step, one writer at a time."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import StorageError, UsageError

try:
    import fcntl
except ImportError:  # Windows refuses to rename a folder that another process uses
    fcntl = None  # type: ignore[assignment]


class Journal:
    """``log.jsonl``, open for adding; its lock is the run folder's.

    Raises:
        UsageError: Another process holds the lock.
        StorageError: The operating system refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = open(path, "a", encoding="utf-8")
        except OSError as error:
            raise self._refusal(error) from error
        try:
            if fcntl:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise UsageError(
                "another process is writing to this run", where=path.parent
            ) from None
        except OSError:
            pass  # a filesystem without locks

    def write(self, record: Mapping[str, Any]) -> None:
        """Add one line: the record and the time, in seconds since 1970.

        Numbers that are not finite become null, which JSON has a word for.

        Raises:
            StorageError: The operating system refused.
        """
        line = _finite({"time": round(time.time(), 3), **record})
        try:
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._refusal(error) from error

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._file.close()

    def _refusal(self, error: OSError) -> StorageError:
        return StorageError(f"cannot be written: {error.strerror}", where=self.path)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
