"""Which tensors of a plan can be views, and what must be copied, and why.

Pure integers: nothing is opened or read, so ``wpack stats`` and ``wpack plan`` answer
with the same reasons that loading acts on.  :mod:`wpack.ring` carries it out.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import NamedTuple

from .backends import candidates, coded_pool
from .plan import Plan, PoolPlan, TensorPlan

#: Most times a pool is mapped back to back, and most stretches a tensor is stitched
#: from: Linux allows a process 65,530 maps.
MAX_LAPS = 4096


class Run(NamedTuple):
    """``nbytes`` straight bytes of a pool from ``begin_byte``."""

    pool: int
    begin_byte: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class PoolResidence:
    """How a pool lies in memory.

    Attributes:
        form: ``map``: its pages, once.  ``ring``: its pages, ``laps`` times back to
            back.  ``buffer``: read into memory of its own, what wrapping reads need
            appended.
        extent: Elements laid out straight: the pool's own and what wrapping reads
            need beyond its end.
        laps: How often the pages are mapped; 1 but for a ring.
        copied_nbytes: Bytes appended.
        why_no_ring: Why a pool that wraps is no ring, or "".
    """

    form: str
    extent: int
    laps: int = 1
    copied_nbytes: int = 0
    why_no_ring: str = ""


@dataclass(frozen=True)
class Residence:
    """Where every tensor of a plan lies once it is loaded.

    Attributes:
        backend: ``mmap``, ``memfd`` or ``copy``.
        pools: In the plan's order.
        views: Tensor → (pool, first element): a straight range of that pool as it lies
            in memory.
        stitched: Tensor → the runs of pools whose pages, mapped back to back, are it.
        copied: Tensor → why not all of it is the stored bytes themselves.
        copied_nbytes: Bytes that loading all tensors makes beside the stored ones, or
            beside what those are decoded to.
        decoded_nbytes: Bytes that coded pools and groups of kept tensors are decoded
            to, each once; views of them are views like any other.
    """

    backend: str
    pools: tuple[PoolResidence, ...]
    views: dict[str, tuple[int, int]]
    stitched: dict[str, tuple[Run, ...]]
    copied: dict[str, str]
    copied_nbytes: int
    decoded_nbytes: int = 0


class _Stretch(NamedTuple):
    """``length`` backing weights of a pool from ``start``, circularly."""

    pool: int
    start: int
    length: int


class _Reads(NamedTuple):
    """What a plan's tensors read, whatever maps there are.

    Attributes:
        views: Tensor → (pool, first element), for those that are one circular range.
        joined: Tensor → its ranges, for those that are several.
        made: Tensor → why its weights do not lie in a pool.
        extents: Elements of each pool that ``views`` need straight.
    """

    views: dict[str, tuple[int, int]]
    joined: dict[str, list[_Stretch]]
    made: dict[str, str]
    extents: list[int]


def residence(
    plan: Plan, *, backend: str = "auto", page_nbytes: int = mmap.PAGESIZE
) -> Residence:
    """Decide for each tensor of a plan between view and copy.

    Args:
        backend: One of :data:`BACKENDS`, or ``auto``: the first that this system and
            ``WPACK_NO_MMAP`` allow.
        page_nbytes: Bytes of a page of memory.

    Raises:
        UsageError: As :func:`candidates`.
    """
    backend = candidates(backend, coded=coded_pool(plan))[0]
    found = _reads(plan)
    pages = _Pages(plan, backend, page_nbytes)
    pools = tuple(map(pages.settle, plan.pools, found.extents))
    stitched: dict[str, tuple[Run, ...]] = {}
    copied = found.made
    for name, stretches in found.joined.items():
        if runs := pages.stitch(stretches):
            stitched[name] = runs
        else:
            copied[name] = pages.why_not_stitched
    copied_nbytes = sum(plan.by_name[name].info.nbytes for name in copied)
    copied_nbytes += sum(pool.copied_nbytes for pool in pools)
    copied |= _partly_copied(plan, found.views, pools)
    decoded_nbytes = sum(pool.nbytes for pool in plan.pools if pool.chain)
    decoded_nbytes += sum(group.nbytes for group in plan.groups)
    return Residence(
        backend, pools, found.views, stitched, copied, copied_nbytes, decoded_nbytes
    )


def _reads(plan: Plan) -> _Reads:
    found = _Reads({}, {}, {}, [pool.backing for pool in plan.pools])
    views, joined, made, extents = found
    as_it_lies = [p.dtype if p.technique.zero_copy else None for p in plan.pools]
    for tensor in plan.tensors:
        if not tensor.pieces:
            continue
        index, piece = tensor.pieces[0]
        # Nearly all tensors are one slice: opening a file is to cost microseconds.
        if len(tensor.pieces) == 1 and as_it_lies[index] is tensor.info.dtype:
            views[tensor.info.name] = index, piece.start
            extents[index] = max(extents[index], piece.end)
        elif why := _why_made(plan, tensor):
            made[tensor.name] = why
        elif len(stretches := _stretches(plan, tensor)) > 1:
            joined[tensor.name] = stretches
        else:
            ((index, start, length),) = stretches
            views[tensor.name] = index, start
            extents[index] = max(extents[index], start + length)
    return found


def _why_made(plan: Plan, tensor: TensorPlan) -> str:
    """Why a tensor's working weights are not backing weights as they lie, or ""."""
    for index, _ in tensor.pieces:
        pool = plan.pools[index]
        if not pool.technique.zero_copy:
            return f"technique {pool.technique.name} computes it"
        if pool.dtype != tensor.info.dtype:
            return f"is {tensor.info.dtype}, its pool {pool.name!r} {pool.dtype}"
    return ""


def _stretches(plan: Plan, tensor: TensorPlan) -> list[_Stretch]:
    """A tensor's slices; those that go on where the one before ended are joined."""
    stretches: list[_Stretch] = []
    for pool, piece in tensor.pieces:
        if stretches and stretches[-1].pool == pool:
            _, start, length = stretches[-1]
            if (start + length - piece.start) % plan.pools[pool].backing == 0:
                stretches[-1] = _Stretch(pool, start, length + piece.length)
                continue
        stretches.append(_Stretch(pool, piece.start, piece.length))
    return stretches


def _partly_copied(
    plan: Plan,
    views: dict[str, tuple[int, int]],
    pools: tuple[PoolResidence, ...],
) -> dict[str, str]:
    """Views that reach into what has been appended to their pool."""
    copied: dict[str, str] = {}
    for name, (pool, first) in views.items():
        why = pools[pool].why_no_ring
        if why and first + plan.by_name[name].info.numel > plan.pools[pool].backing:
            copied[name] = f"wraps, and {why}"
    return copied


class _Pages:
    """What can be laid side by side in pages of memory."""

    def __init__(self, plan: Plan, backend: str, page_nbytes: int) -> None:
        self.plan = plan
        self.backend = backend
        self.page_nbytes = page_nbytes
        # The format lets a pool start on any multiple of the plan's alignment; in a
        # memfd it is we who choose.
        self.starts_pages = backend == "memfd" or plan.alignment % page_nbytes == 0
        self.why_not_stitched = (
            "joins parts that do not meet where pages do"
            if backend != "copy"
            else "joins parts, and backend copy maps nothing"
        )

    def settle(self, pool: PoolPlan, extent: int) -> PoolResidence:
        """How a pool of which ``extent`` elements are needed straight is held."""
        if extent == pool.backing and self.backend != "copy":
            return PoolResidence("map", extent)
        laps = -(-extent // pool.backing)
        why = self._why_no_ring(pool, laps) if laps > 1 else ""
        if laps > 1 and not why:
            return PoolResidence("ring", extent, laps)
        copied_nbytes = (extent - pool.backing) * pool.dtype.itemsize
        return PoolResidence("buffer", extent, 1, copied_nbytes, why)

    def stitch(self, stretches: list[_Stretch]) -> tuple[Run, ...]:
        """The runs of a tensor of several stretches, or () where they do not meet on
        pages."""
        backing = [self.plan.pools[s.pool].backing for s in stretches]
        laps = sum(2 + s.length // b for s, b in zip(stretches, backing, strict=True))
        if self.backend == "copy" or not self.starts_pages or laps > MAX_LAPS:
            return ()
        runs = [run for stretch in stretches for run in self._runs(stretch)]
        page = self.page_nbytes
        if any((run.begin_byte + run.nbytes) % page for run in runs[:-1]):
            return ()
        if any(run.begin_byte % page for run in runs[1:]):
            return ()
        return tuple(runs)

    def _why_no_ring(self, pool: PoolPlan, laps: int) -> str:
        if self.backend == "copy":
            return "backend copy maps nothing"
        if laps > MAX_LAPS:
            return f"pool {pool.name!r} is read {laps} times round, over {MAX_LAPS}"
        page = f"pages of {self.page_nbytes}"
        if not self.starts_pages:
            return f"pools start on {self.plan.alignment} bytes, not on {page}"
        if pool.nbytes % self.page_nbytes:
            return f"pool {pool.name!r} has {pool.nbytes} bytes, not whole {page}"
        return ""

    def _runs(self, stretch: _Stretch) -> list[Run]:
        """A stretch, cut where it passes its pool's end."""
        pool = self.plan.pools[stretch.pool]
        itemsize, start, left = pool.dtype.itemsize, stretch.start, stretch.length
        runs: list[Run] = []
        while left:
            length = min(left, pool.backing - start)
            runs.append(Run(stretch.pool, start * itemsize, length * itemsize))
            start, left = 0, left - length
        return runs
