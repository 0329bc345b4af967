"""Files as they are read: opened once, regular, at any place, never mapped.

Everything goes through one descriptor, so that a name that stands for another file
later changes nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import FormatError, StorageError

AGAIN = "Download or copy it again"

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

# What a file that is no safetensors file may be, by its first bytes, and what to do.
_TO_SAFETENSORS = "Convert it to safetensors first"
_LOOKS_LIKE = (
    (rb"version https://git-lfs", "a Git LFS pointer", "Fetch it with `git lfs pull`"),
    (
        rb"(?i)\s*<(!doctype|html|\?xml)",
        "a web page",
        "The download failed: look into the file, then download it again",
    ),
    (rb"GGUF", "a GGUF file", _TO_SAFETENSORS),
    (rb"PK\x03\x04", "a zip archive", "If torch.save wrote it, name it *.pt"),
    (rb"\x80[\x02-\x05]", "a Python pickle", "If torch.save wrote it, name it *.pt"),
    (rb"\x1f\x8b", "gzip-compressed", "Decompress it with `gunzip` first"),
    (rb"\x28\xb5\x2f\xfd", "Zstandard-compressed", "Decompress it with `unzstd` first"),
    (rb"\x89HDF", "an HDF5 file", _TO_SAFETENSORS),
    (rb"\x93NUMPY", "a numpy array", _TO_SAFETENSORS),
    (
        rb"\s*[{\[]",
        "JSON text",
        "If it is the index of a sharded checkpoint, name it *.safetensors.index.json",
    ),
    (
        rb"\x00\x00\x00\x00....\{",
        "written in big-endian order",
        "Write its header length and its numbers in little-endian order",
    ),
)


def open_regular(path: str | os.PathLike[str]) -> int:
    """Open a regular file for reading, and nothing else: a pipe never blocks.

    Returns:
        A descriptor that the caller closes.

    Raises:
        StorageError: There is no such file, it is a folder, pipe, socket or device, or
            it may not be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        # Looked at before it is opened, for opening a device can do something.
        _insist_regular(os.stat(path).st_mode, path)
        fd = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        raise _refusal(error, path) from None
    try:
        # And again: the name may stand for another file by now.
        _insist_regular(os.fstat(fd).st_mode, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_bytes(fd: int, at_byte: int, nbytes: int, where: str) -> bytes:
    """Exactly ``nbytes`` bytes of a file; raises as :func:`read_into`."""
    buffer = bytearray(nbytes)
    read_into(fd, buffer, at_byte, where)
    return bytes(buffer)


def read_into(fd: int, buffer: Any, at_byte: int, where: str) -> None:
    """Fill a writable 1-D buffer of bytes from a place in a file.

    Raises:
        FormatError: The file ends before the buffer is full.
        StorageError: The operating system could not read it.
    """
    view, done = memoryview(buffer), 0
    while done < len(view):
        try:
            got = _read_once(fd, view[done:], at_byte + done)
        except OSError as error:
            raise StorageError(
                f"cannot be read at byte {at_byte + done}: {error.strerror}",
                where=where,
            ) from error
        if not got:
            raise truncated(at_byte + len(view), at_byte + done, where)
        done += got


def truncated(needed: int, found: int, where: str | None = None) -> FormatError:
    """The error for a file that is shorter than its header says."""
    what = f"truncated: needs {needed} bytes, has {found}"
    return FormatError(what, where=where, hint=AGAIN)


@contextmanager
def naming(where: str) -> Iterator[None]:
    """Put a file's name before the place inside it that a FormatError names."""
    try:
        yield
    except FormatError as error:
        if error.where == where:
            raise
        what = f"{error.where}: {error.what}" if error.where else error.what
        raise FormatError(what, where=where, hint=error.hint) from None
    except RecursionError:
        raise FormatError("its JSON is nested too deeply", where=where) from None


def other_format(head: bytes) -> tuple[str, str] | None:
    """What a file that is no safetensors file looks like, and what to do about it.

    Args:
        head: The file's first bytes, a few hundred at most.
    """
    for pattern, name, hint in _LOOKS_LIKE:
        if re.match(pattern, head, re.DOTALL):
            return name, hint
    return None


def _insist_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "no regular file")
        raise StorageError(f"is {kind}; a file is needed", where=path)


def _refusal(error: OSError | ValueError, path: str | os.PathLike[str]) -> StorageError:
    if isinstance(error, FileNotFoundError):
        what = "there is no such file"
    elif isinstance(error, OSError):
        what = f"cannot be opened: {error.strerror}"
    else:  # A NUL inside the path.
        what = f"cannot be opened: {error}"
    return StorageError(what, where=path)


if hasattr(os, "preadv"):

    def _read_once(fd: int, view: memoryview, at_byte: int) -> int:
        return os.preadv(fd, [view], at_byte)

else:  # Windows can read only where the descriptor stands.

    def _read_once(fd: int, view: memoryview, at_byte: int) -> int:
        os.lseek(fd, at_byte, os.SEEK_SET)
        chunk = os.read(fd, min(len(view), 1 << 20))
        view[: len(chunk)] = chunk
        return len(chunk)
