"""Plain checkpoints, written for any other tool: durably, and the same every time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import durable
from ..errors import CheckpointError
from ..header import Entry, build_header, read_header
from ..names import shown
from ..tensors import TensorInfo

if TYPE_CHECKING:
    import torch

_Path = str | os.PathLike[str]


def write_safetensors(
    path: _Path,
    infos: Sequence[TensorInfo],
    arrays: Iterable[tuple[str, Iterable[np.ndarray]]],
    *,
    metadata: Mapping[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write a ``.safetensors`` file, one block at a time.

    Tensors lie in the order of ``infos`` if every one of them is aligned to its
    element size there, else widest elements first.  Aliases are not stored: as
    ``safetensors.torch.save_model`` does, the metadata says ``{alias: kept name}``.

    Args:
        arrays: ``(name, raw blocks)`` for every tensor that is no alias, in any order;
            together the blocks are the tensor in row-major order.
        metadata: Goes into the file; ``{"format": "pt"}``, which transformers asks
            for, is added.
        force: Replace a file that exists.

    Raises:
        UsageError, StorageError: As :func:`wpack.durable.replacing`.
        CheckpointError: The metadata has an alias's name for a key.
        FormatError: There are more tensors than a header can list.
        ValueError: ``arrays`` is not what ``infos`` says.
    """
    entries = _place([info for info in infos if info.alias_of is None])
    header = build_header(_with_aliases(metadata or {}, infos, path), entries)
    nbytes = len(header) + sum(entry.nbytes for entry in entries)
    missing = {entry.name: entry for entry in entries}
    where = os.fspath(path)
    with durable.replacing(
        path, nbytes, force=force, check=lambda fd: read_header(fd, where)
    ) as output:
        output.write_at(header, 0)
        for name, blocks in arrays:
            if name not in missing:
                raise ValueError(f"{name} is not to be stored, or came twice")
            _write(output, missing.pop(name), len(header), blocks)
        if missing:
            raise ValueError(f"no array came for {', '.join(sorted(missing))}")


def write_torch(
    path: _Path, tensors: Mapping[str, torch.Tensor], *, force: bool = False
) -> None:
    """Write a state dict with ``torch.save``, durably.

    Tensors that are views of one storage stay so: the storage is stored once, whole.
    The same tensors give the same bytes.

    Raises:
        UsageError, StorageError: As :func:`wpack.durable.replacing`.
    """
    import torch

    state_dict = dict(tensors)
    # torch does not tell beforehand how large the file will be, so it is made twice.
    counted: Any = _Sink(None)
    torch.save(state_dict, counted)
    with durable.replacing(path, counted.nbytes, force=force) as output:
        sink: Any = _Sink(output)
        torch.save(state_dict, sink)
        if sink.error is not None:
            raise sink.error


class _Sink:
    """What ``torch.save`` needs of a file object.

    An error is kept, not raised: torch's writer is C++, and would answer with one of
    its own when it then finds its file incomplete.
    """

    def __init__(self, output: durable.Output | None) -> None:
        self.nbytes = 0
        self.error: BaseException | None = None
        self._output = output

    def write(self, data: Any) -> int:
        nbytes = memoryview(data).nbytes
        if self._output is not None and self.error is None:
            try:
                self._output.write_at(data, self.nbytes)
            except BaseException as error:
                self.error = error
        self.nbytes += nbytes
        return nbytes

    def flush(self) -> None:
        """Nothing is held back."""


def _place(infos: Sequence[TensorInfo]) -> list[Entry]:
    entries = _straight(infos)
    if any(entry.begin_byte % entry.dtype.itemsize for entry in entries):
        entries = _straight(sorted(infos, key=lambda info: -info.dtype.itemsize))
    return entries


def _straight(infos: Iterable[TensorInfo]) -> list[Entry]:
    entries: list[Entry] = []
    at_byte = 0
    for info in infos:
        end_byte = at_byte + info.nbytes
        entries.append(Entry(info.name, info.dtype, info.shape, at_byte, end_byte))
        at_byte = end_byte
    return entries


def _with_aliases(
    metadata: Mapping[str, str], infos: Iterable[TensorInfo], path: _Path
) -> dict[str, str]:
    whole = {"format": "pt", **metadata}
    for info in infos:
        if info.alias_of is not None:
            if info.name in whole:
                raise CheckpointError(
                    f"the tied tensor {shown(info.name)} has the name of an entry of"
                    " the metadata",
                    where=path,
                    hint="Rename it, or write a .pt",
                )
            whole[info.name] = info.alias_of
    return whole


def _write(
    output: durable.Output, entry: Entry, data_byte: int, blocks: Iterable[np.ndarray]
) -> None:
    at_byte = entry.begin_byte
    for block in blocks:
        if at_byte + block.nbytes > entry.end_byte:
            raise ValueError(f"more than {entry.nbytes} bytes came for {entry.name}")
        # Contiguous, or the bytes would be those of another order.
        output.write_at(np.ascontiguousarray(block), data_byte + at_byte)
        at_byte += block.nbytes
    if at_byte != entry.end_byte:
        raise ValueError(
            f"{at_byte - entry.begin_byte} of {entry.nbytes} bytes came for"
            f" {entry.name}"
        )
