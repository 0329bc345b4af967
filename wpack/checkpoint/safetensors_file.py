"""A ``.safetensors`` file as a checkpoint."""

from __future__ import annotations

import numpy as np

from ..errors import CheckpointError
from ..header import Header, read_header, read_raw
from ..tensors import TensorInfo
from .handle import Handle
from .opened import StoredFile


class SafetensorsFile(StoredFile):
    """Tensors in the order of their places, then the aliases.

    An alias is what ``safetensors.torch.save_model`` leaves of a tied tensor: an entry
    of the metadata, its key the dropped name and its value the kept one.

    Raises:
        CheckpointError: It is a ``.wpool``.
        FormatError: It breaks the format's rules.
        StorageError: The operating system could not read it.
    """

    format = "safetensors"

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.notes = []
        self._header = read_header(
            handle.fd, handle.where, max_header=handle.max_header
        )
        if self._header.metadata.get("format") == "wpool":
            raise CheckpointError(
                "is a .wpool already, not a checkpoint",
                where=handle.where,
                hint=f"Inflate it first: wpack inflate {handle.path.name}"
                " -o model.safetensors",
            )
        self._entries = {entry.name: entry for entry in self._header.entries}
        self.infos = _infos(self._header)

    def read(self, name: str, first: int, numel: int) -> np.ndarray:
        """By ``pread``: no page of the file becomes memory of this process."""
        handle, entry = self.handle, self._entries[name]
        last = first + numel
        return read_raw(handle.fd, self._header, entry, first, last, handle.where)


def _infos(header: Header) -> list[TensorInfo]:
    infos = {e.name: TensorInfo(e.name, e.dtype, e.shape) for e in header.entries}
    stored = set(infos)
    for name, kept in header.metadata.items():
        # "format" says which library wrote the file, whatever a tensor is called.
        if name != "format" and name not in stored and kept in stored:
            target = infos[kept]
            infos[name] = TensorInfo(name, target.dtype, target.shape, alias_of=kept)
    return list(infos.values())
