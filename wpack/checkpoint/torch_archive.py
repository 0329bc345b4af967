"""The zip file that ``torch.save`` writes, checked before torch sees it.

torch compares no checksum and inflates what is compressed.
"""

from __future__ import annotations

import os
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CheckpointError
from ..inputs import AGAIN
from . import torch_pickle
from .handle import Handle
from .wrappers import RECIPE

#: Largest pickle read; a sound one takes some 200 bytes a tensor, and one that is not
#: can become objects of 75 times its size.
MAX_PICKLE = 16 << 20
_IS_PICKLE = re.compile(r"[^/]*/?data\.pkl").fullmatch

# zipfile's own word for a damaged file, and what its parsing lets through: places
# before the file's start, an end too early, names in no encoding, encrypted entries.
_DAMAGE = (
    *(zipfile.BadZipFile, OSError, EOFError, ValueError, RuntimeError),
    *(struct.error, OverflowError),
)


def check_directory(handle: Handle) -> None:
    """Check the list of entries, and the pickle's checksum; no storage is read.

    Raises:
        CheckpointError: It is no torch checkpoint, or damaged, or its entries claim
            more than the file holds, or its pickle is one that
            :func:`wpack.checkpoint.torch_pickle.follow` refuses.
    """
    with _archive(handle) as archive:
        entries = archive.infolist()
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError(
                    f"its entry {entry.filename[:80]!r} is compressed"
                    f" ({entry.file_size} bytes in {entry.compress_size}); torch.save"
                    " compresses nothing",
                    where=handle.where,
                    hint="Load it in torch and save it again, if you trust it",
                )
        pickle = _pickle(handle, entries)
        claimed = sum(entry.file_size for entry in entries)
        if claimed > handle.nbytes:
            raise CheckpointError(
                f"its entries claim {claimed} bytes, the file has {handle.nbytes}",
                where=handle.where,
                hint=AGAIN,
            )
        torch_pickle.follow(archive.read(pickle), handle.where, handle.nbytes)


def check_sums(handle: Handle) -> None:
    """Read every entry once and compare its CRC-32.

    Raises:
        CheckpointError: One does not agree.
    """
    with _archive(handle) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(
            f"is damaged: the checksum of its entry {damaged[:80]!r} does not agree",
            where=handle.where,
            hint=f"{AGAIN}; if torch saved it with set_crc32_options(False), save it"
            " again without",
        )


@contextmanager
def _archive(handle: Handle) -> Iterator[zipfile.ZipFile]:
    # A duplicate, so that closing the file object leaves the handle's descriptor.
    with open(os.dup(handle.fd), "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except _DAMAGE as error:
            raise CheckpointError(
                f"is a damaged torch checkpoint: {str(error)[:120]}",
                where=handle.where,
                hint=AGAIN,
            ) from None


def _pickle(handle: Handle, entries: list[zipfile.ZipInfo]) -> zipfile.ZipInfo:
    """The one ``data.pkl``."""
    bases = [entry.filename.rpartition("/")[2] for entry in entries]
    what, hint = "", RECIPE
    found = [entry for entry in entries if _IS_PICKLE(entry.filename)]
    if "constants.pkl" in bases:
        what = "is a TorchScript archive, a program; only tensors are read"
        hint = "Save its tensors: torch.save(torch.jit.load(path).state_dict(), out)"
    elif any(base.endswith(".npy") for base in bases):
        what = "is a numpy .npz file, not a torch checkpoint"
    elif len(found) != 1:
        what = f"is a zip file with {len(found)} data.pkl, not a torch checkpoint"
    elif found[0].file_size > MAX_PICKLE:
        what = f"its pickle is {found[0].file_size} bytes; the limit is {MAX_PICKLE}"
    if what:
        raise CheckpointError(what, where=handle.where, hint=hint)
    return found[0]
