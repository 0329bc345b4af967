"""The index of a sharded checkpoint, and the folder that it lies in.

An input is JSON: ``{"index": …, "files": {name: kind}, "open": name}``.  The index is a
tree or, as a string, its text; a kind is one of :data:`KINDS`, or ``link:target``.
What is no such JSON is an index's text itself, beside sound shards.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch  # noqa: F401  Importing it is not to count as reading a file.

from fuzz import trees
from fuzz.target import Target, insist
from fuzz.target import folder as scratch
from tests.checkpoint.instructions import archive, state_dict, tensor, text
from tests.crafting import safetensors
from wpack import checkpoint
from wpack.checkpoint import Checkpoint
from wpack.errors import CheckpointError, FormatError, StorageError, UsageError

NAME = "model.safetensors.index.json"
SHARDS = {"a.safetensors": "a", "b.safetensors": "b"}


def _matrix(name: str, byte: int) -> tuple[str, str, list[int], bytes]:
    return name, "F32", [2, 2], bytes([byte]) * 16


#: What a file beside the index may hold.
KINDS: dict[str, bytes] = {
    "a": safetensors([_matrix("w", 1), _matrix("v", 2)]),
    "b": safetensors([_matrix("x", 3), ("flags", "BOOL", [2], b"\0\1")]),
    "c": safetensors([_matrix("y", 1)]),
    "d": safetensors([_matrix("z", 2)]),
    "e": safetensors([_matrix("é", 3)]),
    "torch": archive(state_dict(text("w"), tensor(2))),
    "w again": safetensors([_matrix("w", 4)]),
    "tied": safetensors([_matrix("w", 5)], {"format": "pt", "tied": "w"}),
    "wrapped": safetensors([_matrix("module.w", 6), _matrix("module.v", 7)]),
    "bad flags": safetensors([("flags", "BOOL", [2], b"\0\2")]),
    "nothing": safetensors([]),
    "pool": safetensors([], {"format": "wpool"}),
    "cut": safetensors([_matrix("w", 8)])[:-3],
    "empty": b"",
    "json": b'{"weight_map": {"w": "a.safetensors"}}',
    "pickle": b"\x80\x02}q\x00.",
    "tar": bytes(257) + b"ustar\0" + bytes(300),
    "text": b"<!doctype html>",
}
WORDS = (
    *("index", "files", "open", "weight_map", "metadata", "total_size", ".", NAME),
    *KINDS,
    *(*SHARDS, "c.safetensors", "model.safetensors", "pytorch_model.bin", "x.pt"),
    *("w", "v", "x", "flags", "tied", "module.w", "_orig_mod.w", "folder", "pipe"),
    *("link:a.safetensors", "link:../../blobs/sound", "link:../../../secret", "link:"),
    *("../secret", "/etc/passwd", "a/../b", "C:\\x", "\\\\srv\\x", "x\0", "\x85.pt"),
    *("pytorch_model.bin.index.json", "optimizer.pt", "link:/dev/zero", "link:c"),
)


def read(data: bytes) -> None:
    """Open the index, or its folder, and read all weights."""
    index, files, opened = _taken_apart(data)
    folder = _laid_out(index, files)
    # A link that the user names may lead anywhere.
    named = (folder / opened).is_symlink() if opened else False
    with checkpoint.open(folder / opened if opened else folder) as found:
        insist(len({i.name for i in found.infos}) == len(found.infos), "names twice")
        if not named:
            _check_files(found, folder)
        insist(len(found.source().sha256) == 64, "has no digest")
        for note in found.notes:
            insist(note.isprintable(), f"notes {note!r}, which is not one line")
        for info in found.infos:
            raw = found.read(info.name)
            insist(raw.nbytes == info.nbytes, "reads other sizes")
            insist(raw.dtype == np.dtype(info.dtype.raw), "reads another dtype")
            outside = 9 in raw.view("u1") and not named
            insist(not outside, "reads what lies outside of its folder")
            insist(info.alias_of in (None, *found._places), "is an alias of nothing")


def _check_files(found: Checkpoint, folder: Path) -> None:
    """All its files lie in its folder, or in the hub's."""
    allowed = (folder, folder.parents[1] / "blobs")
    for file in found._files:
        real = Path(os.path.realpath(file.handle.path))
        insist(real.parent in allowed or folder in real.parents, f"opens {real}")


def _taken_apart(data: bytes) -> tuple[bytes, Mapping[str, Any], str]:
    """The index's text, the files beside it, and what to open."""
    tree = trees.parsed(data)
    if not isinstance(tree, dict) or "index" not in tree:
        return data, SHARDS, NAME
    index = tree["index"]
    text = index if isinstance(index, str) else json.dumps(index)
    files, opened = tree.get("files", SHARDS), tree.get("open", NAME)
    files = files if isinstance(files, dict) else {}
    opened = opened if isinstance(opened, str) and _is_plain(opened) else ""
    return text.encode("utf-8", "surrogatepass"), files, opened


def _is_plain(name: str) -> bool:
    """Whether a name can be a file's here, and stands in messages as it is."""
    return name.isprintable() and "/" not in name and 0 < len(name) < 100


@cache
def _root() -> Path:
    """A folder like a hub's cache, and beside it a file that is nobody's business."""
    root = scratch() / "index"
    (root / "hub" / "blobs").mkdir(parents=True)
    (root / "hub" / "snapshots").mkdir()
    (root / "hub" / "blobs" / "sound").write_bytes(KINDS["a"])
    (root / "secret").write_bytes(safetensors([_matrix("w", 9)]))
    (root / "kinds").mkdir()
    for kind, content in KINDS.items():
        (root / "kinds" / kind).write_bytes(content)
    return root


def _laid_out(text: bytes, files: Mapping[str, Any]) -> Path:
    root = _root()
    folder = root / "hub" / "snapshots" / "0123"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / NAME).write_bytes(text)
    for name, kind in list(files.items())[:8]:
        if (
            _is_plain(name)
            and isinstance(kind, str)
            and not os.path.lexists(folder / name)
        ):
            _lay(root, folder / name, kind)
    return folder


def _lay(root: Path, path: Path, kind: str) -> None:
    target = kind.removeprefix("link:")
    if kind in KINDS:
        os.link(root / "kinds" / kind, path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif target != kind and target.isprintable() and 0 < len(target) < 1000:
        path.symlink_to(target)


def mutate(data: bytes, other: bytes, random: Random) -> bytes:
    """Change the index, or the folder, or how the index is spelled."""
    tree, donor = trees.parsed(data), trees.parsed(other)
    if not isinstance(tree, dict) or "index" not in tree:
        text = data.decode("utf-8", "replace")
        tree = {"index": trees.parsed(text) or text, "files": SHARDS, "open": NAME}
    if random.random() < 0.2 or isinstance(tree["index"], str):
        index = tree["index"]
        text = index if isinstance(index, str) else json.dumps(index)
        tree = {**tree, "index": trees.respelled(text, random, WORDS)}
    else:
        tree = trees.changed(tree, donor, random, WORDS)
    return trees.spelled(tree, random).encode()


TARGET = Target(
    name="index",
    aims=(
        *("wpack.checkpoint.index", "wpack.checkpoint.folder"),
        *("wpack.checkpoint.recognise", "wpack.checkpoint.safetensors_file"),
        *("wpack.checkpoint.handle", "wpack.checkpoint.opened", "wpack.checkpoint"),
    ),
    refusals=(CheckpointError, FormatError, StorageError, UsageError),
    read=read,
    mutate=mutate,
    words=WORDS,
)
