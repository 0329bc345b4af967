"""The file beside the target that becomes the target.

It is called ``.NAME.wpack-XXXXXXXX.tmp`` and locked while its writer lives; those of
dead writers are swept by the next write of the same name.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from typing import Any

from .errors import StorageError

try:
    import fcntl
except ImportError:  # Windows, which refuses to delete what another process has open.
    fcntl = None  # type: ignore[assignment]

#: Bytes of a file's name that the temporary's name has room for, of the usual 255.
_STEM_BYTES = 255 - len("..wpack-01234567.tmp")


class Calls:
    """The system calls of one write, with their errors put into words."""

    def __init__(self, system: Any, shown: str, target: str, nbytes: int) -> None:
        self.system = system
        self.shown = shown
        self.target = target
        self.folder = os.path.dirname(target) or "."
        self.nbytes = nbytes

    def __call__(self, doing: str, name: str, *args: Any) -> Any:
        try:
            return getattr(self.system, name)(*args)
        except OSError as error:
            raise self.refusal(error, doing) from error

    def has(self, name: str) -> bool:
        return hasattr(self.system, name)

    def refusal(self, error: OSError, doing: str) -> StorageError:
        code = error.errno
        if code == errno.ENOSPC:
            what = f"the disk is full: needs {self.nbytes} bytes, {self._free()} free"
        elif code == errno.EDQUOT:
            what = f"the disk quota is used up: needs {self.nbytes} bytes"
        elif code == errno.EFBIG:
            what = (
                f"{self.nbytes} bytes are more than the filesystem, or `ulimit -f`,"
                " allows in a file"
            )
        elif code == errno.EROFS:
            what = f"the filesystem of {self.folder} is read-only"
        elif code in (errno.EACCES, errno.EPERM):
            what = f"no permission to write in {self.folder}"
        elif code == errno.ENOENT:
            what = f"the folder {self.folder} does not exist"
        elif code == errno.ENOTDIR:
            what = f"{self.folder} is no folder"
        elif code == errno.ENAMETOOLONG:
            what = "the name is longer than the filesystem allows"
        else:
            what = f"{doing} failed: {error.strerror}"
        return StorageError(what, where=self.shown)

    def _free(self) -> int:
        try:
            return shutil.disk_usage(self.folder).free
        except OSError:
            return 0


class Temporary:
    """The locked file beside the target."""

    def __init__(self, call: Calls, old: os.stat_result | None) -> None:
        stem = os.path.basename(call.target)
        while len(os.fsencode(stem)) > _STEM_BYTES:
            stem = stem[:-1]
        self._call = call
        self._prefix = f".{stem}.wpack-"
        self._sweep()
        # Nobody reads more of the new file than they could of the old one; a new
        # file's umask is the kernel's to apply.
        mode = 0o666 if old is None else 0o600
        self.fd = -1
        while self.fd < 0:
            self.path = os.path.join(
                call.folder, f"{self._prefix}{secrets.token_hex(4)}.tmp"
            )
            self.fd = self._create(mode)

    def rename(self) -> None:
        """Close the file and give it the target's name."""
        # Closing is the last call that can report a lost write, so it comes first.  A
        # second descriptor keeps the lock until the name is no longer swept.
        guard = self._call("closing", "dup", self.fd) if fcntl else -1
        try:
            fd, self.fd = self.fd, -1
            self._call("closing", "close", fd)
            self._call("renaming", "replace", self.path, self._call.target)
        finally:
            if guard >= 0:
                os.close(guard)

    def discard(self) -> None:
        """Remove the file, whatever state it is in."""
        if self.fd >= 0:
            with suppress(OSError):
                self._call.system.close(self.fd)
        with suppress(OSError):
            self._call.system.unlink(self.path)

    def _create(self, mode: int) -> int:
        """A new locked file's descriptor, or -1 where another writer came between."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_BINARY"):
            flags |= getattr(os, name, 0)
        try:
            fd = int(self._call.system.open(self.path, flags, mode))
        except FileExistsError:
            return -1
        except OSError as error:
            raise self._call.refusal(error, "creating a file") from error
        if fcntl:
            with suppress(OSError):  # A filesystem without locks is not swept either.
                fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink or not fcntl:
            return fd
        os.close(fd)  # Swept between its creation and its lock.
        return -1

    def _sweep(self) -> None:
        """Remove what dead writers of this name left behind."""
        with suppress(OSError), os.scandir(self._call.folder) as found:
            for entry in found:
                name = entry.name
                if name.startswith(self._prefix) and name.endswith(".tmp"):
                    remove_if_dead(entry.path)


def remove_if_dead(path: str | os.PathLike[str]) -> None:
    """Remove a temporary whose writer lives no more."""
    with suppress(OSError):
        if not fcntl:
            os.unlink(path)
            return
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(fd)
