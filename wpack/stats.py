"""What a file costs, tensor by tensor, without reading a weight.

Every byte of the file is attributed: Σ ``stored_bytes`` over the tensors plus
``header_bytes`` is ``file_bytes``, and so is Σ over the pools and the kept tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from . import weight_file
from .container import Container
from .limits import Limits
from .plan import Plan, PoolPlan
from .residence import Residence, residence
from .tensors import TensorInfo


@dataclass(frozen=True)
class PartStats:
    """One slice of a tensor: ``numel`` working weights from ``length`` of a pool."""

    pool: str
    start: int
    length: int
    numel: int


@dataclass(frozen=True)
class TensorStats:
    """One tensor.

    Attributes:
        kind: ``pooled``, ``kept`` or ``alias``.
        stored_bytes: What it costs in the file; a pooled tensor's is its share of its
            pools, by working weights.
        zero_copy: Whether loading it copies nothing.
        why_copied: Why it is not a view, or "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    parts: tuple[PartStats, ...]
    stored_bytes: int
    zero_copy: bool
    why_copied: str = ""


@dataclass(frozen=True)
class PoolStats:
    """One pool.

    Attributes:
        ratio: N_w / N_b.
        multiplications: How many make all its working weights (the paper's Table I).
        random_accesses: How many of its reads leave the order of storage.
        zero_copy: Whether its technique gives backing weights as they lie, with no
            work for a weight.  Which tensors are views, the tensors say.
    """

    name: str
    technique: str
    dtype: str
    codecs: tuple[str, ...]
    backing: int
    working: int
    ratio: float
    stored_bytes: int
    tensors: int
    multiplications: int
    random_accesses: int
    zero_copy: bool


@dataclass(frozen=True)
class Loaded:
    """What the tensors taken from a file have cost; aliases count once.

    Attributes:
        views: Tensors that are stored bytes and nothing else: ranges of pools as they
            lie in memory, and what the file keeps as it is.
        wrapped: Tensors that are a range of their pool with its head appended, where
            its pages could not be laid back to back.
        computed: Tensors with memory of their own: made by a technique, converted to
            another dtype, or joined from parts that do not lie side by side.
        computed_seconds: Wall-clock time in which those were made, reading what they
            are made from included.
        copied_bytes: Bytes made beside the stored ones: ``computed_bytes``, and what
            was appended to pools.
    """

    views: int
    views_bytes: int
    wrapped: int
    wrapped_bytes: int
    computed: int
    computed_bytes: int
    computed_seconds: float
    copied_bytes: int


@dataclass(frozen=True)
class LoadStats(Loaded):
    """What it took to open a file and take every tensor.

    Attributes:
        backend: ``mmap``, ``memfd`` or ``copy``.
        seconds: Wall-clock time of all of it.  What is mapped has not been read then.
    """

    backend: str
    seconds: float


@dataclass(frozen=True)
class FileStats:
    """One file.

    Attributes:
        header_bytes: Header, alignment and padding.
        working_parameters: Trainable entries of the tensors that a network computes
            with, aliases once.  Running statistics and integers are no parameters.
        free_parameters: Trainable entries stored: backing weights and kept parameters.
        ratio: ``working_parameters / free_parameters``.
        inflated_bytes: Bytes of all tensors when each stands on its own.
        zero_copy_bytes: Bytes of working weights and kept tensors loaded as views.
        copied_bytes: Bytes that loading makes beside the stored ones.
        load: What loading took, where it was tried.
    """

    path: str
    format: str
    file_bytes: int
    header_bytes: int
    working_parameters: int
    free_parameters: int
    backing_parameters: int
    kept_parameters: int
    ratio: float
    inflated_bytes: int
    zero_copy_bytes: int
    copied_bytes: int
    pools: tuple[PoolStats, ...]
    tensors: tuple[TensorStats, ...]
    load: LoadStats | None = None

    def to_json(self) -> dict[str, Any]:
        """The normative entry of ``wpack stats --json``."""
        return asdict(self)


def of_file(path: str | os.PathLike[str], backend: str, limits: Limits) -> FileStats:
    """What a file of any kind costs.

    Args:
        backend: The way of loading a ``.wpool`` to count copies for.
    """
    if weight_file.is_wpool(path, limits):
        with weight_file.container_of(path, limits) as file:
            return of_container(file, residence(file.plan, backend=backend))
    # Its readers take longer to import than a .wpool's header to read.
    from . import checkpoint

    with checkpoint.open(path, max_header=limits.max_header) as plain:
        return of_checkpoint(
            os.fspath(path), plain.format, plain.file_bytes, plain.infos
        )


def of_plan(plan: Plan, path: str, file_bytes: int, residence: Residence) -> FileStats:
    """What a ``.wpool`` of this plan costs, written or yet to be."""
    shares = _shares(plan)
    tensors = tuple(
        TensorStats(
            name=t.name,
            shape=t.info.shape,
            dtype=t.info.dtype.name,
            kind=t.kind,
            parts=tuple(
                PartStats(plan.pools[i].name, s.start, s.length, s.numel)
                for i, s in t.pieces
            ),
            stored_bytes=shares[t.name],
            zero_copy=t.name not in residence.copied,
            why_copied=residence.copied.get(t.name, ""),
        )
        for t in plan.tensors
    )
    backing = sum(pool.backing for pool in plan.pools)
    kept = parameters(t.info for t in plan.kept)
    working = kept + sum(pool.working for pool in plan.pools)
    return FileStats(
        path=path,
        format="wpool",
        file_bytes=file_bytes,
        header_bytes=file_bytes - sum(t.stored_bytes for t in tensors),
        working_parameters=working,
        free_parameters=backing + kept,
        backing_parameters=backing,
        kept_parameters=kept,
        ratio=_ratio(working, backing + kept),
        inflated_bytes=plan.inflated_bytes,
        zero_copy_bytes=sum(
            t.info.nbytes
            for t in plan.tensors
            if t.kind != "alias" and t.name not in residence.copied
        ),
        copied_bytes=residence.copied_nbytes,
        pools=tuple(_pool_stats(plan, pool) for pool in plan.pools),
        tensors=tensors,
    )


def of_container(container: Container, residence: Residence) -> FileStats:
    """What a ``.wpool`` file costs."""
    return of_plan(container.plan, str(container.path), container.file_bytes, residence)


def of_checkpoint(
    path: str, kind: str, file_bytes: int, infos: Iterable[TensorInfo]
) -> FileStats:
    """What a plain checkpoint costs, in the same terms.

    Args:
        kind: ``safetensors``, ``sharded`` or ``torch``.
    """
    infos = tuple(infos)
    tensors = tuple(
        TensorStats(
            name=info.name,
            shape=info.shape,
            dtype=info.dtype.name,
            kind="kept" if info.alias_of is None else "alias",
            parts=(),
            stored_bytes=info.nbytes if info.alias_of is None else 0,
            zero_copy=True,
        )
        for info in infos
    )
    count = parameters(info for info in infos if info.alias_of is None)
    stored = sum(t.stored_bytes for t in tensors)
    return FileStats(
        path=path,
        format=kind,
        file_bytes=file_bytes,
        header_bytes=file_bytes - stored,
        working_parameters=count,
        free_parameters=count,
        backing_parameters=0,
        kept_parameters=count,
        ratio=1.0,
        inflated_bytes=stored,
        zero_copy_bytes=stored,
        copied_bytes=0,
        pools=(),
        tensors=tensors,
    )


def parameters(infos: Iterable[TensorInfo]) -> int:
    """Trainable entries of these tensors."""
    return sum(info.numel for info in infos if info.trainable)


def _pool_stats(plan: Plan, pool: PoolPlan) -> PoolStats:
    return PoolStats(
        name=pool.name,
        technique=pool.technique.name,
        dtype=pool.dtype.name,
        codecs=(),
        backing=pool.backing,
        working=pool.working,
        ratio=pool.ratio,
        stored_bytes=pool.nbytes,
        tensors=len({s.tensor for s in pool.table.slices}),
        multiplications=pool.technique.multiplications(pool.table),
        random_accesses=pool.technique.random_accesses(pool.table),
        zero_copy=pool.technique.zero_copy,
    )


def _shares(plan: Plan) -> dict[str, int]:
    """Bytes of the file that each tensor answers for.

    A pool's bytes are dealt out by working weights, cumulatively rounded, so that the
    shares add up to the pool exactly.
    """
    shares = {t.name: t.info.nbytes if t.kind == "kept" else 0 for t in plan.tensors}
    for pool in plan.pools:
        made = 0
        for piece in pool.table.slices:
            before = made * pool.nbytes // pool.working
            made += piece.numel
            shares[piece.tensor] += made * pool.nbytes // pool.working - before
    return shares


def _ratio(working: int, free: int) -> float:
    return working / free if free else 1.0
