"""Sharded checkpoints: an index that sends each tensor to a file beside it."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import strict_json
from ..errors import CheckpointError
from ..inputs import read_bytes
from ..names import shown
from . import folder, recognise
from .handle import Handle
from .opened import Checkpoint, StoredFile

#: Largest index read.
MAX_INDEX = 16 << 20
#: Most shards that an index may name; every one is looked for.
MAX_SHARDS = 1 << 14
_LISTED = 8
_MAX_BRACKETS = 4096

# Anything that leaves the folder, on any system.
_NO_BASENAME = re.compile(r"[/\\:\x00-\x1f\x7f]|^\.{0,2}$")


@dataclass(frozen=True)
class Index:
    """An index that has been read.

    Attributes:
        files: Tensor → the name of its shard.
        total_size: Bytes of all tensors as the index says, or None.
    """

    files: dict[str, str]
    total_size: int | None

    @property
    def shards(self) -> list[str]:
        """The shards' names, sorted."""
        return sorted(set(self.files.values()))


def open_sharded(handle: Handle, key: str | None) -> Checkpoint:
    """Open every shard that an index names, and check that they agree with it.

    Args:
        handle: The index; it is closed.

    Raises:
        CheckpointError: The index is damaged, names a file elsewhere, or does not say
            what the shards say.
        FormatError, StorageError: A shard cannot be read.
    """
    index = _read(handle)
    handle.close()
    beside = handle.path.parent
    _insist_present(index, handle)
    files: list[StoredFile] = []
    for name in index.shards:
        with ExitStack() as undo:
            shard = Handle(beside / name, folder.open_member, handle.max_header)
            undo.callback(shard.close)
            kind = recognise.kind_of(shard)
            stored = recognise.stored_file(shard, kind, key)
            stored.release()
        files.append(stored)
    _insist_agreed(index, files, handle)
    return Checkpoint(handle.path, "sharded", files, _notes(index, files, beside))


def _read(handle: Handle) -> Index:
    if handle.nbytes > MAX_INDEX:
        raise _refuse(
            handle, f"the index is {handle.nbytes} bytes; the limit is {MAX_INDEX}"
        )
    try:
        text = read_bytes(handle.fd, 0, handle.nbytes, handle.where).decode()
        # Without this, a small file of empty lists would become a large object.
        if text.count("[") + text.count("{") > _MAX_BRACKETS:
            raise ValueError("has more brackets than an index can need")
        document = strict_json.loads(text)
    except UnicodeDecodeError as error:
        raise _refuse(handle, f"is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise _refuse(handle, str(error)) from None
    files = document.get("weight_map")
    if not isinstance(files, dict) or not files:
        raise _refuse(handle, "has no weight_map: not the index of a checkpoint")
    for tensor, name in files.items():
        if not isinstance(name, str) or _NO_BASENAME.search(name):
            raise _refuse(
                handle,
                f"sends tensor {shown(tensor)} to {name!r:.80}; only names of files"
                " beside the index are allowed",
            )
    return Index(files, _total_size(document.get("metadata")))


def _total_size(metadata: Any) -> int | None:
    found = metadata.get("total_size") if isinstance(metadata, dict) else None
    return found if isinstance(found, int) else None


def _insist_present(index: Index, handle: Handle) -> None:
    beside = handle.path.parent
    if len(index.shards) > MAX_SHARDS:
        raise _refuse(
            handle, f"names {len(index.shards)} shards; the limit is {MAX_SHARDS}"
        )
    missing = [name for name in index.shards if not os.path.lexists(beside / name)]
    if missing:
        raise _refuse(
            handle,
            f"{len(missing)} of {len(index.shards)} shards are missing:"
            f" {_listing(missing)}",
            hint="Download or copy them again",
        )


def _insist_agreed(index: Index, files: list[StoredFile], handle: Handle) -> None:
    """Each tensor stands in one shard: the one that the index says."""
    places: dict[str, str] = {}
    for file in files:
        shard = file.handle.path.name
        for info in file.infos:
            other = places.setdefault(info.name, shard)
            if other != shard:
                what = f"tensor {shown(info.name)} stands in two shards: {other}"
                raise _refuse(handle, f"{what} and {shard}")
    absent = [name for name, shard in index.files.items() if places.get(name) != shard]
    if absent:
        raise _refuse(
            handle,
            f"{len(absent)} tensors are not in the shards that the index names:"
            f" {_listing(absent)}",
            hint="Download or copy index and shards again, together",
        )
    tensors = (i for f in files for i in f.infos if i.alias_of is None)
    unlisted = [info.name for info in tensors if info.name not in index.files]
    if unlisted:
        raise _refuse(
            handle,
            f"{len(unlisted)} tensors of the shards are not in the index:"
            f" {_listing(unlisted)}",
            hint="Download or copy index and shards again, together",
        )


def _notes(index: Index, files: list[StoredFile], beside: Path) -> list[str]:
    notes = []
    nbytes = sum(i.nbytes for f in files for i in f.infos if i.alias_of is None)
    if index.total_size not in (None, nbytes):
        notes.append(
            f"the index says total_size {index.total_size}, the tensors take {nbytes}"
            " bytes"
        )
    extra = {n for n in os.listdir(beside) if n.endswith(".safetensors")}
    extra -= set(index.shards)
    if extra and index.shards[0].endswith(".safetensors"):
        notes.append(f"left out what the index does not name: {_listing(extra)}")
    return notes


def _listing(names: Any) -> str:
    listed = sorted(names)
    more = len(listed) - _LISTED
    text = ", ".join(map(shown, listed[:_LISTED]))
    return text + (f" and {more} more" if more > 0 else "")


def _refuse(handle: Handle, what: str, hint: str = "") -> CheckpointError:
    return CheckpointError(what, where=handle.where, hint=hint)
