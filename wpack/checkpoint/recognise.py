"""What an input file is, by its content."""

from __future__ import annotations

import re
import string

from ..errors import CheckpointError, UsageError
from ..inputs import other_format, read_bytes
from .handle import Handle
from .opened import StoredFile
from .safetensors_file import SafetensorsFile
from .torch_file import RECIPE, TorchFile

SAFETENSORS, ZIP, LEGACY, INDEX = "safetensors", "zip", "legacy", "index"

# torch's magic number, pickled, with or without a frame around it.
_LEGACY = re.compile(
    rb"\x80.(\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\.", re.DOTALL
)
_PICKLE = re.compile(rb"\x80[\x02-\x05]|c[\w.]+\n[\w.]+\n", re.DOTALL)
_SUFFIXES_OF_TORCH = (".pt", ".pth", ".th", ".bin", ".ckpt")


def kind_of(handle: Handle) -> str:
    """``safetensors``, ``zip`` or ``legacy`` (both torch) or ``index``.

    A file that is nothing of these is ``safetensors`` unless its suffix is one of
    torch's: the header's reader has the better words for it.

    Raises:
        CheckpointError: It is a pickle that torch did not write, or has a torch suffix
            and other content.
    """
    head = read_bytes(handle.fd, 0, min(handle.nbytes, 512), handle.where)
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= handle.nbytes - 8:
        return SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        _insist_own_suffix(handle)
        return ZIP
    if _LEGACY.match(head):
        return LEGACY
    if re.match(rb"\s*\{", head) and b"\0" not in head:
        return INDEX
    if _PICKLE.match(head):
        raise CheckpointError(
            "is a Python pickle that torch.save did not write; pickles are not run",
            where=handle.where,
            hint=RECIPE,
        )
    if handle.path.suffix.lower() in _SUFFIXES_OF_TORCH:
        raise _no_torch_file(handle, head)
    return SAFETENSORS


def stored_file(handle: Handle, kind: str, key: str | None) -> StoredFile:
    """Read the header of a file that is no index.

    Raises:
        UsageError: ``key`` is given for a file that has no wrappers.
        CheckpointError, FormatError, StorageError: It cannot be read.
    """
    if kind == INDEX:
        raise CheckpointError("is JSON, not a file of tensors", where=handle.where)
    if kind != SAFETENSORS:
        return TorchFile(handle, key, zipped=kind == ZIP)
    if key is not None:
        raise UsageError(
            f"a safetensors file has no parts to choose from, --key {key} names one",
            where=handle.where,
            hint="Leave --key out",
        )
    return SafetensorsFile(handle)


def _insist_own_suffix(handle: Handle) -> None:
    """torch reads whatever is called ``.safetensors`` as that."""
    if handle.path.suffix == ".safetensors":
        raise CheckpointError(
            "is a zip archive, as torch.save writes it, with the suffix of another"
            " format",
            where=handle.where,
            hint=f"Rename it: {handle.path.stem}.pt",
        )


def _no_torch_file(handle: Handle, head: bytes) -> CheckpointError:
    other, hint = other_format(head) or ("", "")
    if not head:
        what = "is empty"
    elif head[257:262] == b"ustar":
        what, hint = "is a tar archive, as torch before 0.1.10 wrote them", RECIPE
    elif other:
        what = f"is no torch checkpoint but {other}"
    else:
        what = f"is no torch checkpoint: it begins with {_begin(head)}"
    return CheckpointError(what, where=handle.where, hint=hint)


def _begin(head: bytes) -> str:
    """The first bytes, as text if they are text."""
    first = head[:16]
    if all(chr(byte) in string.printable for byte in first):
        return repr(first.decode())
    return first[:8].hex(" ")
