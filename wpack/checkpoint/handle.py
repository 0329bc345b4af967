"""One input file: opened, known again, hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from ..errors import CheckpointError
from ..header import MAX_HEADER
from ..inputs import open_regular, read_into

#: Opens a path as a regular file and gives its descriptor.
Opener = Callable[[Path], int]
#: Bytes hashed at a time.
_BLOCK = 8 << 20


class Handle:
    """A file that can be closed and opened again, and is then still the same file.

    Args:
        path: The file.
        opener: Opens it; :func:`wpack.inputs.open_regular` for what a user named.
        max_header: Largest safetensors header accepted in it, in bytes.

    Raises:
        StorageError: It cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        opener: Opener = open_regular,
        max_header: int = MAX_HEADER,
    ) -> None:
        self.path = path
        self.where = str(path)
        self.max_header = max_header
        self._opener = opener
        self._fd: int | None = opener(path)
        status = os.fstat(self._fd)
        self.nbytes = status.st_size
        self._identity = _identity(status)

    @property
    def fd(self) -> int:
        """The open descriptor.

        Raises:
            CheckpointError: The file had been closed and is another one by now.
        """
        if self._fd is None:
            self._fd = self._opener(self.path)
            self._compare(os.fstat(self._fd))
        return self._fd

    def close(self) -> None:
        """Give the descriptor back; :attr:`fd` opens the file again."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def check_unchanged(self) -> None:
        """Look whether the path still names the file that was opened, unaltered.

        Raises:
            CheckpointError: Its size, time of change or inode differs, or it is gone.
        """
        try:
            status = os.stat(self.path)
        except OSError:
            raise self._changed() from None
        self._compare(status)

    def sha256(self) -> str:
        """SHA-256 of the file's bytes, in hexadecimal.

        Raises:
            FormatError, StorageError: It cannot be read to its end.
        """
        digest = hashlib.sha256()
        buffer = bytearray(min(_BLOCK, self.nbytes))
        for at_byte in range(0, self.nbytes, _BLOCK):
            view = memoryview(buffer)[: self.nbytes - at_byte]
            read_into(self.fd, view, at_byte, self.where)
            digest.update(view)
        return digest.hexdigest()

    def _compare(self, status: os.stat_result) -> None:
        if _identity(status) != self._identity:
            raise self._changed()

    def _changed(self) -> CheckpointError:
        return CheckpointError(
            "changed while it was being read",
            where=self.where,
            hint="Run again when nothing writes to it",
        )


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
