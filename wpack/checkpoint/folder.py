"""Folders: which file in one is the checkpoint, and which files may be opened there."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CheckpointError, StorageError, UsageError
from ..inputs import open_regular
from ..names import shown

#: What a folder may hold, the better first; each with the name that libraries use,
#: which wins over its neighbours .
_KINDS = (
    ((".safetensors.index.json",), "model.safetensors.index.json"),
    ((".safetensors",), "model.safetensors"),
    (
        (".bin.index.json", ".pt.index.json", ".pth.index.json"),
        "pytorch_model.bin.index.json",
    ),
    ((".bin", ".pt", ".pth", ".th"), "pytorch_model.bin"),
)
#: What trainers save beside a model; none of it is one.
_NO_MODELS = (
    *("training_args", "optimizer", "scheduler", "scaler"),
    *("rng_state", "random_states"),
)


def choose(folder: Path) -> tuple[Path, list[str]]:
    """The file in a folder that is its checkpoint, and notes on what was passed over.

    Raises:
        UsageError: There are several.
        CheckpointError: There is none.
        StorageError: The folder cannot be read.
    """
    names = _names(folder)
    for level, (suffixes, usual) in enumerate(_KINDS):
        found = [name for name in names if name.endswith(suffixes)]
        if len(found) > 1 and usual not in found:
            listed = ", ".join(map(shown, found[:20]))
            raise UsageError(
                f"holds {len(found)} files that may be the checkpoint: {listed}",
                where=folder,
                hint="Name the one to read",
            )
        if found:
            chosen = usual if usual in found else found[0]
            return folder / chosen, _passed_over(names, level)
    raise CheckpointError(
        "holds no checkpoint: no .safetensors, .bin, .pt, .pth or .th file",
        where=folder,
    )


def open_member(path: Path) -> int:
    """Open a file of a checkpoint's folder.

    A symbolic link may lead to a place inside the folder or, from a snapshot of a
    model hub's cache, to the ``blobs`` beside the snapshots; nowhere else.

    Raises:
        CheckpointError: It is a link to another place.
        StorageError: It cannot be opened.
    """
    _insist_inside(path)
    fd = open_regular(path)
    try:
        # Once more, now that the file is open: the link may have been turned meanwhile.
        real = _insist_inside(path)
        if not os.path.samestat(os.fstat(fd), os.stat(real)):
            raise CheckpointError("was replaced while it was opened", where=path)
    except OSError as error:
        os.close(fd)
        raise StorageError(f"cannot be opened: {error.strerror}", where=path) from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _names(folder: Path) -> list[str]:
    try:
        return sorted(n for n in os.listdir(folder) if not n.startswith(_NO_MODELS))
    except OSError as error:
        raise StorageError(
            f"cannot be listed: {error.strerror}", where=folder
        ) from None


def _passed_over(names: list[str], level: int) -> list[str]:
    """A note if the folder holds the model as pickles too."""
    pickles = [name for name in names if name.endswith(_KINDS[3][0])]
    if level > 1 or not pickles:
        return []
    listed = ", ".join(map(shown, pickles[:5])) + (", …" if len(pickles) > 5 else "")
    return [f"took the .safetensors, not {listed}"]


def _insist_inside(path: Path) -> Path:
    folder, real = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    allowed = [folder]
    for above in folder.parents:
        if above.name == "snapshots":
            allowed.append(Path(os.path.realpath(above.parent / "blobs")))
    if not any(place in real.parents for place in allowed):
        raise CheckpointError(
            f"is a symbolic link to {real}, outside its folder",
            where=path,
            hint="Put the file itself there, if you trust it",
        )
    return real
