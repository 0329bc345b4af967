"""Pools laid out in memory so that every range read is one stretch.

A pool whose pages are mapped k times back to back is a ring cut open: a slice that
wraps, or is longer than the pool, is straight there and costs no memory.  Linux only;
elsewhere, and where the system refuses, pools are read into ordinary memory.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from .address_space import PAGE, Segment, is_remote, map_segments
from .arrangement import POOL_PREFIX, group_name
from .backends import candidates, coded_pool
from .container import Container
from .inputs import read_into
from .plan import TensorPlan
from .pool import working_blocks
from .residence import Residence as Residence
from .residence import residence as residence

#: What an array or tensor can be made over; it keeps the memory as long as it lives.
Buffer = mmap.mmap | np.ndarray


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

    Maps are made at once, which reads nothing; what has to be read, decoded or computed
    is, when it is first asked for.  What is decoded is so once, into the memory that it
    is held in.

    Attributes:
        residence: Where everything lies.
        copied_nbytes: Bytes made so far beside the stored ones and the decoded ones.
        decoded_nbytes: Bytes decoded so far.
        computing_seconds: Wall-clock time spent so far on tensors that are no view.
        decoding_seconds: Wall-clock time spent so far on decoding, reading included.

    Raises:
        OSError: The system refuses to map.
    """

    def __init__(self, container: Container, residence: Residence) -> None:
        self.residence = residence
        self.copied_nbytes = self.decoded_nbytes = 0
        self.computing_seconds = self.decoding_seconds = 0.0
        self._container = container
        self._pools: list[tuple[Buffer, int] | None] = [None] * len(residence.pools)
        self._unread: dict[int, np.ndarray] = {}
        self._groups: dict[int, np.ndarray] = {}
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
            return self._kept(tensor)
        if tensor.name in self.residence.stitched:
            runs = self.residence.stitched[tensor.name]
            for index in {run.pool for run in runs} & self._unread.keys():
                self._fill_pages(index)
            return self._stitched[tensor.name], runs[0].begin_byte % PAGE
        started, decoding = time.perf_counter(), self.decoding_seconds
        made = self._made(tensor)
        decoding -= self.decoding_seconds
        self.computing_seconds += time.perf_counter() - started + decoding
        self.copied_nbytes += tensor.info.nbytes
        return made, 0

    def close(self) -> None:
        """Forget all memory that no array or tensor is using."""
        self._pools = [None] * len(self._pools)
        self._unread.clear()
        self._groups.clear()
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
        """Put a pool, ``room`` of its raw dtype, into memory made for it."""
        pool = self._container.plan.pools[index]
        if pool.chain:
            self._decode(POOL_PREFIX + pool.name, room)
            return
        at_byte = self._container.at_byte(self._container.pool_entry(pool.name))
        path = self._container.path
        read_into(self._container.fileno(), room.view("u1"), at_byte, path)

    def _decode(self, name: str, room: np.ndarray) -> None:
        """Decode what is stored under a name into memory made for it."""
        started = time.perf_counter()
        self._container.read_values(name, room)
        self.decoding_seconds += time.perf_counter() - started
        self.decoded_nbytes += room.nbytes

    def _fill_pages(self, index: int) -> None:
        """Read a pool into the pages that have been mapped for it."""
        room = self._unread[index]
        self._read(index, room.view(self._container.plan.pools[index].dtype.raw))
        del self._unread[index]  # only now: what failed is not to be taken for read

    def _buffer(self, index: int) -> np.ndarray:
        """A pool read once, and as much of its head appended as wrapping reads need."""
        pool, held = self._container.plan.pools[index], self.residence.pools[index]
        laid_out = np.empty(held.extent, pool.dtype.raw)
        self._read(index, laid_out[: pool.backing])
        append_head(laid_out, pool.backing)
        self.copied_nbytes += held.copied_nbytes
        return laid_out

    def _kept(self, tensor: TensorPlan) -> tuple[Buffer, int]:
        if tensor.group is not None:
            first = self._container.plan.groups[tensor.group].firsts[tensor.name]
            return self._group(tensor.group), first * tensor.info.dtype.itemsize
        entry = self._container.entries[tensor.name]
        if self._file is None:
            return self._container.read_range(entry, 0, entry.numel), 0
        if entry.dtype.code == "BOOL":  # reading refuses bytes that are neither 0 nor 1
            self._container.read_range(entry, 0, entry.numel)
        return self._file, self._container.at_byte(entry)

    def _group(self, index: int) -> np.ndarray:
        """Kept tensors that are coded together, one after another."""
        if index not in self._groups:
            group = self._container.plan.groups[index]
            decoded = np.empty(group.numel, group.dtype.raw)
            self._decode(group_name(index), decoded)
            self._groups[index] = decoded
        return self._groups[index]

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
        UsageError: As :func:`wpack.backends.candidates`.
    """
    coded = coded_pool(container.plan)
    wanted = candidates(backend, writable=writable, coded=coded)
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
