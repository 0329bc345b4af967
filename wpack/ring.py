"""Address space: pages of a file laid out so that every range read is one stretch.

A pool whose pages are mapped k times back to back is a ring cut open: a slice that
wraps, or is longer than the pool, is straight there and costs no memory.  Linux only;
elsewhere, and where the system refuses, pools are read into ordinary memory.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import mmap
import os
import time
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from .container import Container
from .inputs import read_into
from .plan import TensorPlan
from .pool import working_blocks
from .residence import Residence as Residence
from .residence import candidates
from .residence import residence as residence

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

#: What an array or tensor can be made over; it keeps the memory as long as it lives.
Buffer = mmap.mmap | np.ndarray


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


def append_head(laid_out: Any, backing: int) -> None:
    """Fill a 1-D numpy array or torch tensor by repeating its first ``backing``
    elements."""
    filled = backing
    while filled < len(laid_out):  # whole laps, twice as many each time
        length = min(filled, len(laid_out) - filled)
        laid_out[filled : filled + length] = laid_out[:length]
        filled += length


class Memory:
    """A container's tensors in this process, laid out as a residence says.

    Maps are made at once, which reads nothing; what has to be read or computed is, when
    it is first asked for.

    Attributes:
        residence: Where everything lies.
        copied_nbytes: Bytes made so far beside the stored ones.
        computing_seconds: Wall-clock time spent so far on tensors that are no view.

    Raises:
        OSError: The system refuses to map.
    """

    def __init__(self, container: Container, residence: Residence) -> None:
        self.residence = residence
        self.copied_nbytes = 0
        self.computing_seconds = 0.0
        self._container = container
        self._pools: list[tuple[Buffer, int] | None] = [None] * len(residence.pools)
        self._unread: dict[int, np.ndarray] = {}
        self._stitched: dict[str, Buffer] = {}
        self._file: Buffer | None = None
        if residence.backend == "mmap":
            fd, nbytes = container.fileno(), container.file_bytes
            self._file = map_segments([Segment(fd, 0, nbytes)], shared=False)
            entries = map(container.pool_entry, self._pool_names())
            homes = [container.at_byte(entry) for entry in entries]
            self._map(fd, homes, self._file, shared=False)
        elif residence.backend == "memfd" and residence.pools:
            self._map_anonymous()

    def pool(self, index: int) -> tuple[Buffer, int]:
        """A pool laid out straight: a buffer, and the byte in it where ``extent``
        elements start."""
        found = self._pools[index]
        if found is None:
            found = self._pools[index] = self._buffer(index), 0
        elif index in self._unread:
            self._fill_pages(index)
        return found

    def tensor(self, tensor: TensorPlan) -> tuple[Buffer, int]:
        """A tensor that is no view of a pool (kept, stitched, computed): a buffer, and
        the byte in it where the tensor starts."""
        if not tensor.pieces:
            return self._kept(tensor.name)
        if tensor.name in self.residence.stitched:
            runs = self.residence.stitched[tensor.name]
            for index in {run.pool for run in runs} & self._unread.keys():
                self._fill_pages(index)
            return self._stitched[tensor.name], runs[0].begin_byte % PAGE
        started = time.perf_counter()
        made = self._made(tensor)
        self.computing_seconds += time.perf_counter() - started
        self.copied_nbytes += tensor.info.nbytes
        return made, 0

    def close(self) -> None:
        """Forget all memory that no array or tensor is using."""
        self._pools = [None] * len(self._pools)
        self._unread.clear()
        self._stitched.clear()
        self._file = None

    def _pool_names(self) -> list[str]:
        return [pool.name for pool in self._container.plan.pools]

    def _map_anonymous(self) -> None:
        """Room for all pools in one nameless file in memory, each on a page."""
        pools = self._container.plan.pools
        rooms = [-(-pool.nbytes // PAGE) * PAGE for pool in pools]
        homes = list(itertools.accumulate(rooms, initial=0))
        if not hasattr(os, "memfd_create"):  # an old C library
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        fd = os.memfd_create("wpack")
        try:
            os.ftruncate(fd, homes[-1])
            whole = map_segments([Segment(fd, 0, homes[-1])], shared=True)
            self._map(fd, homes, whole, shared=True)
        finally:
            os.close(fd)  # the maps keep the memory
        raw = np.frombuffer(whole, "u1")
        for index, pool in enumerate(pools):
            self._unread[index] = raw[homes[index] : homes[index] + pool.nbytes]

    def _map(
        self, fd: int, homes: Sequence[int], whole: Buffer, *, shared: bool
    ) -> None:
        """Map rings and stitched tensors; other pools lie in ``whole`` already."""
        for index, held in enumerate(self.residence.pools):
            home = homes[index]
            if held.form == "ring":
                nbytes = self._container.plan.pools[index].nbytes
                laps = [Segment(fd, home, nbytes)] * held.laps
                self._pools[index] = map_segments(laps, shared=shared), 0
            elif held.form == "map":
                self._pools[index] = whole, home
        for name, runs in self.residence.stitched.items():
            slack = runs[0].begin_byte % PAGE
            segments = [
                Segment(fd, homes[run.pool] + run.begin_byte, run.nbytes)
                for run in runs
            ]
            first = Segment(fd, segments[0].at_byte - slack, runs[0].nbytes + slack)
            self._stitched[name] = map_segments([first, *segments[1:]], shared=shared)

    def _read(self, index: int, room: np.ndarray) -> None:
        """Read a pool's stored bytes into memory that has just been made for them."""
        entry = self._container.pool_entry(self._container.plan.pools[index].name)
        at_byte = self._container.at_byte(entry)
        read_into(self._container.fileno(), room, at_byte, self._container.path)

    def _fill_pages(self, index: int) -> None:
        """Read a pool into the pages that have been mapped for it."""
        self._read(index, self._unread.pop(index))

    def _buffer(self, index: int) -> np.ndarray:
        """A pool read once, and as much of its head appended as wrapping reads need."""
        pool, held = self._container.plan.pools[index], self.residence.pools[index]
        laid_out = np.empty(held.extent, pool.dtype.raw)
        self._read(index, laid_out[: pool.backing].view("u1"))
        append_head(laid_out, pool.backing)
        self.copied_nbytes += held.copied_nbytes
        return laid_out

    def _kept(self, name: str) -> tuple[Buffer, int]:
        entry = self._container.entries[name]
        if self._file is None:
            return self._container.read_range(entry, 0, entry.numel), 0
        if entry.dtype.code == "BOOL":  # reading refuses bytes that are neither 0 nor 1
            self._container.read_range(entry, 0, entry.numel)
        return self._file, self._container.at_byte(entry)

    def _made(self, tensor: TensorPlan) -> np.ndarray:
        """The working weights of a tensor that is no range of backing weights."""
        plan, info = self._container.plan, tensor.info
        made = np.empty(info.numel, info.dtype.raw)
        at = 0
        for index, piece in tensor.pieces:
            pool = plan.pools[index]
            buffer, begin = self.pool(index)
            backing = np.frombuffer(buffer, pool.dtype.raw, pool.backing, begin)
            for block in working_blocks(pool, piece, backing, info.dtype):
                made[at : at + len(block)] = block
                at += len(block)
        return made


def load(
    container: Container, *, backend: str = "auto", writable: bool = False
) -> Memory:
    """Lay a container out in memory by the best backend that works.

    Where the system refuses one (a file system that cannot map, no memory, address
    space or maps left, a sandbox), the next is taken, with a warning.

    Raises:
        UsageError: As :func:`wpack.residence.candidates`.
    """
    wanted = candidates(backend, writable=writable)
    if backend == "auto" and wanted[0] == "mmap" and is_remote(container.fileno()):
        wanted = wanted[1:]
    for name, following in itertools.pairwise(wanted):
        try:
            return Memory(container, residence(container.plan, backend=name))
        except OSError as error:
            warnings.warn(
                f"{container.path}: backend {name} does not work here"
                f" ({error.strerror}); using {following}",
                RuntimeWarning,
                stacklevel=2,
            )
    return Memory(container, residence(container.plan, backend="copy"))


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    # The mmap module cannot be told where to map.
    word, number = ctypes.c_size_t, ctypes.c_int
    libc.mmap.argtypes = (word, word, number, number, number, ctypes.c_long)
    libc.mmap.restype = word
    return libc
