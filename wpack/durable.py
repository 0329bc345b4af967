"""Files as they are written: the old one or the new one, never a torn one.

The bytes go into a temporary beside the target, whose space is claimed first; it is
flushed, checked and renamed over the target, and the folder is flushed.  A full disk, a
signal or a power cut leaves the old file as it was.  Output is never written through a
map: on a full disk that ends the process.
"""

from __future__ import annotations

import errno
import os
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import StorageError, UsageError
from .temporaries import Calls, Temporary

_Path = str | os.PathLike[str]

# What a filesystem says that has no such operation, or needs none.
_UNSUPPORTED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
_NOT_OURS = _UNSUPPORTED | {errno.EPERM, errno.EACCES}


class Output:
    """The file being written; see :func:`replacing`."""

    def __init__(self, fd: int, call: Calls) -> None:
        self.written = 0
        self._fd = fd
        self._call = call

    def write_at(self, buffer: Any, at_byte: int) -> None:
        """Write a contiguous buffer at a place in the file.

        Raises:
            StorageError: The operating system refused.
            ValueError: The place lies outside the size that was announced.
        """
        view = memoryview(buffer).cast("B")
        if at_byte < 0 or at_byte + len(view) > self._call.nbytes:
            raise ValueError(
                f"bytes {at_byte} … {at_byte + len(view)} do not fit a file of"
                f" {self._call.nbytes}"
            )
        self.written += len(view)
        while view:
            done = self._write_once(view, at_byte)
            view, at_byte = view[done:], at_byte + done

    def _write_once(self, view: memoryview, at_byte: int) -> int:
        if self._call.has("pwrite"):
            done = self._call("writing", "pwrite", self._fd, view, at_byte)
        else:
            self._call("writing", "lseek", self._fd, at_byte, os.SEEK_SET)
            done = self._call("writing", "write", self._fd, view)
        if done == 0:
            raise self._call.refusal(OSError(errno.EIO, "nothing written"), "writing")
        return int(done)


@contextmanager
def replacing(
    path: _Path,
    nbytes: int,
    *,
    force: bool = False,
    check: Callable[[int], object] | None = None,
    os_: Any = os,
) -> Iterator[Output]:
    """Write a file of ``nbytes`` bytes that appears whole or not at all.

    A new file gets mode ``0666 & ~umask``; a replaced one keeps its mode, and its
    owner where that is allowed.  A symbolic link is followed and its target replaced.

    Args:
        force: Replace a file that exists.
        check: Called with a descriptor of the flushed file before it takes its name;
            what it raises keeps the old file.
        os_: Stands in for the ``os`` module, for tests that make its calls fail.

    Raises:
        UsageError: The file exists and ``force`` is not given, or the path is a folder,
            pipe, socket or device (``/dev/null`` is allowed).
        StorageError: The operating system refused.
        ValueError: Not exactly ``nbytes`` bytes were written.
    """
    target = os.path.realpath(path) if os.path.islink(path) else os.fspath(path)
    call = Calls(os_, os.fspath(path), target, nbytes)
    old = _old_file(call, force)
    if old is not None and stat.S_ISCHR(old.st_mode):
        with open(target, "wb", buffering=0) as nowhere:
            yield Output(nowhere.fileno(), call)
        return
    temporary = Temporary(call, old)
    try:
        _claim_space(call, temporary.fd)
        output = Output(temporary.fd, call)
        yield output
        if output.written != nbytes:
            raise ValueError(f"{output.written} bytes written, {nbytes} announced")
        _keep_owner_and_mode(call, temporary.fd, old)
        # Never again after a failure: the kernel may have dropped the dirty pages, and
        # a second fsync would report success.
        call("flushing", "fsync", temporary.fd)
        if check is not None:
            check(temporary.fd)
        if not force and os.path.lexists(target):
            raise _exists(call)
        temporary.rename()
    except BaseException:
        temporary.discard()
        raise
    _flush(call)


def flush_folder(folder: _Path, *, os_: Any = os) -> None:
    """Make names that were given or taken away in a folder outlive a power cut.

    Warns where the filesystem cannot do it.

    Raises:
        StorageError: The operating system tried and failed.
    """
    _flush(Calls(os_, os.fspath(folder), os.path.join(folder, ""), 0))


def refuse_existing(output: _Path, force: bool) -> None:
    """Fail before hours of work where the output may not be written.

    Raises:
        UsageError: It exists and ``force`` is not given, or is a folder.
    """
    path = Path(output)
    if path.is_dir():
        raise UsageError("is a folder, not a file", where=path)
    if path.is_file() and not force:
        raise UsageError("exists", where=path, hint="Pass --force to replace it")
    if not path.parent.is_dir():
        raise UsageError("its folder does not exist", where=path)


def make_folder(folder: _Path, *, os_: Any = os) -> None:
    """Make a folder and those above it, where they are not there, for good.

    Raises:
        StorageError: The operating system refused.
    """
    path = Path(folder)
    new = [place for place in (path, *path.parents) if not place.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot be made: {error.strerror}", where=folder) from error
    for made in reversed(new):
        flush_folder(made.parent, os_=os_)


def write_bytes(
    path: _Path, data: bytes, *, force: bool = False, os_: Any = os
) -> None:
    """Write a whole file as :func:`replacing` does."""
    with replacing(path, len(data), force=force, os_=os_) as output:
        output.write_at(data, 0)


def write_text(path: _Path, text: str, *, force: bool = False, os_: Any = os) -> None:
    """Write a whole UTF-8 file as :func:`replacing` does; newlines stay as they are."""
    write_bytes(path, text.encode(), force=force, os_=os_)


def _old_file(call: Calls, force: bool) -> os.stat_result | None:
    """What the target replaces, if anything, once it is known that it may."""
    if not os.path.basename(call.target) or "\0" in call.target:
        raise UsageError("this path names no file", where=call.shown)
    try:
        old = os.stat(call.target)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise call.refusal(error, "looking at it") from error
    if stat.S_ISDIR(old.st_mode):
        raise UsageError("is a folder", where=call.shown, hint="Name a file in it")
    if stat.S_ISCHR(old.st_mode) and os.path.samestat(old, os.stat(os.devnull)):
        return old
    if not stat.S_ISREG(old.st_mode):
        raise UsageError("is no regular file", where=call.shown)
    if not force:
        raise _exists(call)
    return old


def _exists(call: Calls) -> UsageError:
    return UsageError("exists", where=call.shown, hint="--force replaces it")


def _claim_space(call: Calls, fd: int) -> None:
    """Find out now, and not in the middle, whether the disk has room."""
    if call.nbytes and call.has("posix_fallocate"):
        try:
            call.system.posix_fallocate(fd, 0, call.nbytes)
            return
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise call.refusal(error, "claiming space") from error
    call("claiming space", "ftruncate", fd, call.nbytes)


def _keep_owner_and_mode(call: Calls, fd: int, old: os.stat_result | None) -> None:
    if old is None:
        return
    new = os.fstat(fd)
    changes: list[tuple[str, tuple[int, ...]]] = []
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        changes.append(("fchown", (old.st_uid, old.st_gid)))
    # Last, since a change of owner clears bits of the mode.
    changes.append(("fchmod", (stat.S_IMODE(old.st_mode),)))
    for name, values in changes:
        if call.has(name):
            try:
                getattr(call.system, name)(fd, *values)
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise call.refusal(error, "keeping its mode") from error


def _flush(call: Calls) -> None:
    """Make the new name outlive a power cut; the file is already in place."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        fd = call.system.open(call.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            call.system.fsync(fd)
        finally:
            call.system.close(fd)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise call.refusal(error, "flushing the folder") from error
        warnings.warn(
            f"{call.folder}: the folder cannot be flushed; a power cut now may bring"
            " the old file back",
            RuntimeWarning,
            stacklevel=4,
        )
