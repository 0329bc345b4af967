"""The working weights of any file: a ``.wpool`` or a plain checkpoint, read alike.

A ``.wpool``'s pools are read once and its tensors made from them block by block; a
checkpoint's tensors are read block by block.  Nothing here needs torch but a pickled
checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from . import container
from .arrangement import POOL_PREFIX, group_name
from .container import Container
from .errors import FormatError, UsageError
from .header import read_header
from .inputs import open_regular, read_bytes
from .limits import Limits
from .plan import Plan
from .pool import Read, working_blocks
from .tensors import TensorInfo, blocks

if TYPE_CHECKING:
    from . import checkpoint


class WeightFile(Protocol):
    """An open file of tensors."""

    @property
    def infos(self) -> Sequence[TensorInfo]:
        """The tensors, in checkpoint order."""

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """A tensor's elements in row-major order, raw, a block at a time."""


class WorkingWeights:
    """What a plan makes of stored values, wherever those are.

    Attributes:
        plan: Who reads what from where.

    Args:
        read_values: Fills an array with the values of a pool or of a group of kept
            tensors, decoded, by the name it is stored under.
        read_kept: Reads a kept tensor that is in no group.
    """

    def __init__(
        self,
        plan: Plan,
        read_values: Callable[[str, np.ndarray], object],
        read_kept: Read,
    ) -> None:
        self.plan = plan
        self.infos = [tensor.info for tensor in plan.tensors]
        self._read_values, self._read_kept = read_values, read_kept
        self._pools: dict[int, np.ndarray] = {}
        self._groups: dict[int, np.ndarray] = {}

    def backing(self, pool: int) -> np.ndarray:
        """A pool's backing weights, ``(backing,)``, raw; read, and decoded where they
        are coded, at the first call."""
        if pool not in self._pools:
            planned = self.plan.pools[pool]
            values = np.empty(planned.backing, planned.dtype.raw)
            self._read_values(POOL_PREFIX + planned.name, values)
            self._pools[pool] = values
        return self._pools[pool]

    def _group(self, index: int) -> np.ndarray:
        """The values of a group of kept tensors, decoded at the first call."""
        if index not in self._groups:
            group = self.plan.groups[index]
            values = np.empty(group.numel, group.dtype.raw)
            self._read_values(group_name(index), values)
            self._groups[index] = values
        return self._groups[index]

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """As :meth:`WeightFile.blocks`; exactly what loading the file gives."""
        tensor = self.plan.by_name[self.plan.aliases.get(name, name)]
        for index, piece in tensor.pieces:
            pool = self.plan.pools[index]
            raw = self.backing(index)
            yield from working_blocks(pool, piece, raw, tensor.info.dtype)
        if tensor.group is not None:
            first = self.plan.groups[tensor.group].firsts[tensor.name]
            yield self._group(tensor.group)[first : first + tensor.info.numel]
        elif tensor.kind == "kept":
            for begin, end in blocks(tensor.info.numel):
                yield self._read_kept(tensor.name, begin, end - begin)


class PooledWeights(WorkingWeights):
    """The working weights of an open ``.wpool``."""

    def __init__(self, file: Container) -> None:
        super().__init__(file.plan, file.read_values, self._read)
        self.file = file

    def _read(self, name: str, first: int, numel: int) -> np.ndarray:
        return self.file.read_range(self.file.entries[name], first, first + numel)


class PlainWeights:
    """The tensors of an open checkpoint."""

    def __init__(self, file: checkpoint.Checkpoint) -> None:
        self.file = file
        self.infos = list(file.infos)
        self._numel = {info.name: info.numel for info in self.infos}

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """As :meth:`WeightFile.blocks`."""
        for begin, end in blocks(self._numel[name]):
            yield self.file.read(name, begin, end - begin)


@contextmanager
def opened(
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    limits: Limits,
) -> Iterator[PooledWeights | PlainWeights]:
    """Open either kind of file for reading its weights.

    Args:
        key: Which entry of a pickled checkpoint holds the weights.
    """
    if is_wpool(path, limits):
        with container_of(path, limits) as pooled:
            yield PooledWeights(pooled)
    else:
        # Readers of every format, for a command that may only read a .wpool's header.
        from . import checkpoint

        with checkpoint.open(path, key, max_header=limits.max_header) as plain:
            yield PlainWeights(plain)


def container_of(path: str | os.PathLike[str], limits: Limits) -> Container:
    """Open a ``.wpool``, as :func:`wpack.container.read`."""
    return container.read(
        path,
        max_header=limits.max_header,
        max_working_bytes=limits.max_working_bytes,
    )


def insist_pooled(path: str | os.PathLike[str], limits: Limits) -> None:
    """Refuse a plain checkpoint, where only a ``.wpool`` will do.

    Raises:
        UsageError: It is one.
        CheckpointError, FormatError, StorageError: It is neither, in the words of the
            reader of what it looks like.
    """
    with opened(path, limits=limits) as file:
        if not isinstance(file, PooledWeights):
            raise UsageError(
                "is a plain checkpoint; a .pt is written of a .wpool", where=path
            )


def is_wpool(path: str | os.PathLike[str], limits: Limits) -> bool:
    """Whether a file says of itself that it is a ``.wpool``, or is named one."""
    if Path(path).suffix == ".wpool":
        return True
    if not os.path.isfile(path):
        return False
    fd = open_regular(path)
    try:
        if not _mentions_wpool(fd, os.fspath(path), limits):
            return False
        header = read_header(fd, os.fspath(path), max_header=limits.max_header)
        return header.metadata.get("format") == "wpool"
    except FormatError:
        # Whatever it is, the reader of checkpoints says so better.
        return False
    finally:
        os.close(fd)


def _mentions_wpool(fd: int, where: str, limits: Limits) -> bool:
    """Whether the word stands in a file's header: a plain checkpoint's is parsed once,
    by its own reader."""
    file_bytes = os.fstat(fd).st_size
    length = int.from_bytes(read_bytes(fd, 0, min(8, file_bytes), where), "little")
    fits = length <= min(limits.max_header, file_bytes - 8)
    return fits and b"wpool" in read_bytes(fd, 8, length, where)
