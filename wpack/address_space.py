"""Address space: stretches of files mapped one right after another.  Linux only."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

PAGE = mmap.PAGESIZE
# Flags that the mmap module lacks, as x86, arm64, riscv and s390 number them.
_MAP_FIXED, _MAP_NORESERVE = 0x10, 0x4000
#: File systems, by statfs magic, where a lost connection under a map would kill the
#: process.
_REMOTE = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFE534D42: "SMB2",
    0xFF534D42: "CIFS",
    0x65735546: "FUSE",
    0x01021997: "9p",
    0x0BD00BD0: "Lustre",
    0x00C36400: "Ceph",
    0x5346414F: "AFS",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
}


class Segment(NamedTuple):
    """Bytes of a file to be mapped; ``at_byte`` starts a page, and ``nbytes`` ends one
    unless it is the last segment."""

    fd: int
    at_byte: int
    nbytes: int


def map_segments(segments: Sequence[Segment], *, shared: bool) -> mmap.mmap:
    """Map segments back to back, readable and writable.

    Args:
        shared: Writes go to the file's pages, and are seen wherever those are mapped;
            otherwise a page is copied when it is first written to.

    Returns:
        A buffer over all of them.  They stay mapped as long as it lives, that is, as
        long as any array or tensor made from it: no file object is needed any more.

    Raises:
        OSError: The system refuses; nothing stays mapped.
    """
    # Address space first, so that nothing else can be put between two segments.  Its
    # owner unmaps the whole range when it dies, whatever has been mapped over it.
    private = mmap.MAP_PRIVATE | _MAP_NORESERVE
    nbytes = sum(segment.nbytes for segment in segments)
    whole = mmap.mmap(-1, nbytes, private | mmap.MAP_ANONYMOUS)
    at = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    flags = _MAP_FIXED | (mmap.MAP_SHARED if shared else private)
    protection = mmap.PROT_READ | mmap.PROT_WRITE
    for fd, at_byte, length in segments:
        if _libc().mmap(at, length, protection, flags, fd, at_byte) != at:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        at += length
    return whole


def is_remote(fd: int) -> bool:
    """Whether a file lies where a map of it may fail later: a network file system or
    one that a user's program serves."""
    status = (ctypes.c_uint64 * 32)()  # struct statfs; its first word is the type
    if _libc().fstatfs(fd, ctypes.byref(status)):
        return False
    return status[0] & 0xFFFFFFFF in _REMOTE


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    # The mmap module cannot be told where to map.
    word, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = (word, word, number, number, number, ctypes.c_long)
    libc.mmap.restype = word
    return libc
