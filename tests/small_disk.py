"""A real disk of a few pages, for a process that may fill it.

It is a tmpfs in a mount namespace of the process's own, and in a user namespace where
the process is not root: nobody else sees it, and it goes when the process ends.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: Exit status of a job where the system does not allow it.
REFUSED = 77
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000
_READ_ONLY, _REMOUNT, _RECURSIVE, _PRIVATE = 1, 32, 16384, 1 << 18


def mount(folder: Path, nbytes: int) -> None:
    """Put an empty disk over a folder, and make that the current one.

    Raises:
        SystemExit: The system does not allow it; the status is :data:`REFUSED`.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        try:
            _call("unshare", _NEW_MOUNTS)
        except PermissionError:
            _call("unshare", _NEW_USER | _NEW_MOUNTS)
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _call("mount", b"none", b"/", None, _RECURSIVE | _PRIVATE, None)
        _mount(folder, nbytes, 0)
    except OSError as error:
        print(f"no disk of its own: {error}", flush=True)
        raise SystemExit(REFUSED) from None
    os.chdir(folder)


def resize(folder: Path, nbytes: int) -> None:
    """Give a disk another size, with what is on it."""
    _mount(folder, nbytes, _REMOUNT)


def protect(folder: Path) -> None:
    """Let nobody write on a disk any more."""
    _mount(folder, 0, _REMOUNT | _READ_ONLY)


def free_nbytes(folder: Path) -> int:
    """What is left."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _mount(folder: Path, nbytes: int, flags: int) -> None:
    size = f"size={nbytes}".encode() if nbytes else None
    _call("mount", b"tmpfs", os.fsencode(folder), b"tmpfs", flags, size)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
