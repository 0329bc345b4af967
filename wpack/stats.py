"""What a file costs, tensor by tensor, without reading a weight.

Every byte of the file is attributed: Σ ``stored_bytes`` over the tensors plus
``header_bytes`` is ``file_bytes``, and so is Σ over the pools and the kept tensors.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from . import stages, weight_file
from .arrangement import POOL_PREFIX, coded, group_name
from .container import Container
from .costs import FileStats as FileStats
from .costs import GroupStats as GroupStats
from .costs import Loaded as Loaded
from .costs import LoadStats as LoadStats
from .costs import PartStats as PartStats
from .costs import PoolStats as PoolStats
from .costs import StageStats as StageStats
from .costs import TensorStats as TensorStats
from .limits import Limits
from .plan import Group, Plan, PoolPlan, TensorPlan
from .residence import Residence, residence
from .stages import Coding
from .tensors import TensorInfo


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


def of_plan(
    plan: Plan,
    path: str,
    file_bytes: int,
    residence: Residence,
    codings: Mapping[str, Coding] | None = None,
) -> FileStats:
    """What a ``.wpool`` of this plan costs, written or yet to be.

    Args:
        file_bytes: Its size: at most, where the plan is not exact and there are no
            ``codings``.
        codings: Stored name → what that takes, for every pool and group of kept tensors
            that is coded; None where they have yet to be.
    """
    sizes = _Sizes(plan, codings)
    tensors = tuple(_tensor_stats(plan, t, residence, sizes) for t in plan.tensors)
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
        pools=tuple(_pool_stats(pool, sizes) for pool in plan.pools),
        tensors=tensors,
        exact=plan.exact or codings is not None,
        decoded_bytes=residence.decoded_nbytes,
        groups=tuple(_group_stats(*each, sizes) for each in enumerate(plan.groups)),
    )


def of_container(container: Container, residence: Residence) -> FileStats:
    """What a ``.wpool`` file costs."""
    told = stages.loads(container.metadata.get(stages.KEY, ""))
    codings = {
        name: stages.checked(told.get(name), each, container.entries[name].nbytes)
        for name, each in container.coded.items()
    }
    path, file_bytes = str(container.path), container.file_bytes
    return of_plan(container.plan, path, file_bytes, residence, codings)


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


class _Sizes:
    """What pools and kept tensors take in the file: measured, or at most."""

    def __init__(self, plan: Plan, codings: Mapping[str, Coding] | None) -> None:
        self._codings, self._coded = codings, coded(plan)
        #: Bytes of the file that each tensor answers for.
        self.shares = dict.fromkeys(plan.by_name, 0)
        for tensor in plan.kept:
            self.shares[tensor.name] = tensor.info.nbytes
        for index, group in enumerate(plan.groups):
            nbytes = self.stored(group_name(index), group)
            sizes = [(info.name, info.numel) for info in group.infos]
            self.shares |= dict.fromkeys((name for name, _ in sizes), 0)
            self._deal(nbytes, group.numel, sizes)
        for pool in plan.pools:
            nbytes = self.stored(POOL_PREFIX + pool.name, pool)
            pieces = [(piece.tensor, piece.numel) for piece in pool.table.slices]
            self._deal(nbytes, pool.working, pieces)

    def _deal(self, nbytes: int, numel: int, pieces: list[tuple[str, int]]) -> None:
        """Deal bytes out by weights, cumulatively rounded, so that the shares add up
        exactly."""
        made = 0
        for name, count in pieces:
            before = made * nbytes // numel
            made += count
            self.shares[name] += made * nbytes // numel - before

    def stored(self, name: str, planned: PoolPlan | Group) -> int:
        """Bytes stored under a name."""
        if not planned.chain:
            return planned.nbytes
        if self._codings is None:
            return self._coded[name].most_stored_bytes
        return self._codings[name].stored_bytes

    def coding(self, name: str) -> dict[str, Any]:
        """The fields ``stages`` and ``entropy_bytes`` of a pool or group."""
        found = self._codings.get(name) if self._codings else None
        if found is None or found.entropy_nbytes is None:
            return {}
        steps = tuple(StageStats(*stage) for stage in found.stages)
        return {"stages": steps, "entropy_bytes": found.entropy_nbytes}


def _tensor_stats(
    plan: Plan, tensor: TensorPlan, residence: Residence, sizes: _Sizes
) -> TensorStats:
    name = tensor.name
    return TensorStats(
        name=name,
        shape=tensor.info.shape,
        dtype=tensor.info.dtype.name,
        kind=tensor.kind,
        parts=tuple(
            PartStats(plan.pools[i].name, s.start, s.length, s.numel)
            for i, s in tensor.pieces
        ),
        stored_bytes=sizes.shares[name],
        zero_copy=name not in residence.copied,
        why_copied=residence.copied.get(name, ""),
        codecs=() if tensor.group is None else plan.groups[tensor.group].chain.names,
    )


def _pool_stats(pool: PoolPlan, sizes: _Sizes) -> PoolStats:
    name = POOL_PREFIX + pool.name
    return PoolStats(
        name=pool.name,
        technique=pool.technique.name,
        dtype=pool.dtype.name,
        codecs=pool.chain.names,
        backing=pool.backing,
        working=pool.working,
        ratio=pool.ratio,
        stored_bytes=sizes.stored(name, pool),
        tensors=len({s.tensor for s in pool.table.slices}),
        multiplications=pool.technique.multiplications(pool.table),
        random_accesses=pool.technique.random_accesses(pool.table),
        zero_copy=pool.technique.zero_copy,
        decoded_bytes=pool.nbytes if pool.chain else 0,
        **sizes.coding(name),
    )


def _group_stats(index: int, group: Group, sizes: _Sizes) -> GroupStats:
    name = group_name(index)
    return GroupStats(
        dtype=group.dtype.name,
        codecs=group.chain.names,
        tensors=len(group.infos),
        numel=group.numel,
        stored_bytes=sizes.stored(name, group),
        decoded_bytes=group.nbytes,
        **sizes.coding(name),
    )


def _ratio(working: int, free: int) -> float:
    return working / free if free else 1.0
