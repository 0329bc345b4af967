"""Checkpoints in and out.

In: a ``.safetensors`` file, a sharded folder or its ``*.safetensors.index.json``, a
file that ``torch.save`` wrote.  What a file is, its content says; its suffix only words
the refusal.  Nothing pickled is ever run, and no failure is answered with a second,
less careful try.

The order of the tensors, on which their places in a pool depend, is the file's own: by
position in a ``.safetensors`` file, by insertion in a torch state dict; shards follow
each other sorted by name, whatever the index says.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from ..header import MAX_HEADER
from ..inputs import open_regular
from ..tensors import TensorInfo
from . import folder, recognise
from .handle import Handle, Opener
from .index import open_sharded
from .opened import Checkpoint as Checkpoint
from .written import write_safetensors as write_safetensors
from .written import write_torch as write_torch


def open(
    path: str | os.PathLike[str],
    key: str | None = None,
    *,
    max_header: int = MAX_HEADER,
) -> Checkpoint:
    """Open a checkpoint: its headers are read and checked, its weights are not.

    Args:
        path: A file, a folder, or the index of a sharded checkpoint.
        key: Which of the state dicts in a wrapped torch file, as a dotted path;
            default: the only one there is, under its usual name.
        max_header: Largest safetensors header accepted, in bytes.

    Raises:
        UsageError: There is more than one candidate; the message lists them.
        CheckpointError: It is no checkpoint, or not one that can be read.
        FormatError: A ``.safetensors`` file breaks the format's rules.
        StorageError: The operating system could not read it.
    """
    path = Path(path)
    if os.path.isdir(path):
        chosen, notes = folder.choose(path)
        checkpoint = _open_file(chosen, key, folder.open_member, max_header)
        checkpoint.notes[:0] = notes
        checkpoint.path = path
        return checkpoint
    return _open_file(path, key, open_regular, max_header)


def infos(path: str | os.PathLike[str], key: str | None = None) -> list[TensorInfo]:
    """The tensors of a checkpoint, in its order, from headers only; see :func:`open`.

    A torch file's pickle is its header: it is loaded, its storages are not read.
    """
    with open(path, key) as checkpoint:
        return checkpoint.infos


def _open_file(
    path: Path, key: str | None, opener: Opener, max_header: int
) -> Checkpoint:
    with ExitStack() as undo:
        handle = Handle(path, opener, max_header)
        undo.callback(handle.close)
        kind = recognise.kind_of(handle)
        if kind == recognise.INDEX:
            return open_sharded(handle, key)
        stored = recognise.stored_file(handle, kind, key)
        undo.pop_all()
        return Checkpoint(path, stored.format, [stored])
