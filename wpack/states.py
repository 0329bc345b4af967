"""The folder of one saved state: tensors, JSON values, and a manifest over both."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from . import durable, strict_json
from .header import Entry, build_header
from .tensors import BY_NAME

MANIFEST = "MANIFEST.json"
VALUES = "state.json"

#: File → name → tensor.
Tensors = Mapping[str, Mapping[str, Tensor]]


def nbytes(tensors: Tensors) -> int:
    """Bytes of all tensors."""
    return sum(t.nbytes for named in tensors.values() for t in named.values())


def write(
    folder: Path,
    values: Mapping[str, Any],
    tensors: Tensors,
    config_sha256: str,
    os_: Any = os,
) -> None:
    """Write a state into an empty folder; its manifest comes last.

    Each file is flushed, but the folder still has to get the name it is found by.

    Raises:
        StorageError: The operating system refused.
    """
    text = json.dumps(values, indent=1).encode()
    files = {VALUES: _write_file(folder / VALUES, len(text), [text], os_)}
    for file, named in tensors.items():
        header = _header(named)
        size = len(header) + sum(tensor.nbytes for tensor in named.values())
        name = f"{file}.safetensors"
        files[name] = _write_file(folder / name, size, _blocks(header, named), os_)
    manifest = {"version": 1, "config_sha256": config_sha256, "files": files}
    text = json.dumps(manifest, indent=1).encode()
    _write_file(folder / MANIFEST, len(text), [text], os_)


def fault(folder: Path) -> str:
    """Why a state cannot be gone on from, or "" where it is complete and undamaged."""
    try:
        manifest = strict_json.loads((folder / MANIFEST).read_text("utf-8"))
        files = dict(manifest["files"])
        for name, expected in files.items():
            path = folder / name
            size = path.stat().st_size
            if size != expected["nbytes"]:
                return f"{name} has {size} bytes, not {expected['nbytes']}"
            if _sha256(path) != expected["sha256"]:
                return f"{name} is damaged: its SHA-256 is another"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except OSError as error:
        return f"{Path(error.filename or folder).name}: {error.strerror}"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} is damaged"
    return ""


def read(folder: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """The values and tensors of a state that has no :func:`fault`."""
    values = json.loads((folder / VALUES).read_text("utf-8"))
    tensors = {
        path.stem: safetensors.torch.load_file(path)
        for path in sorted(folder.glob("*.safetensors"))
    }
    return values, tensors


def _header(named: Mapping[str, Tensor]) -> bytes:
    entries, at_byte = [], 0
    for name, tensor in named.items():
        dtype = BY_NAME[str(tensor.dtype).removeprefix("torch.")]
        end_byte = at_byte + tensor.nbytes
        entries.append(Entry(name, dtype, tuple(tensor.shape), at_byte, end_byte))
        at_byte = end_byte
    return build_header({}, entries)


def _blocks(header: bytes, named: Mapping[str, Tensor]) -> Iterator[Any]:
    """The bytes of a safetensors file, one tensor at a time."""
    yield header
    for tensor in named.values():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        yield flat.view(torch.uint8).numpy()


def _write_file(
    path: Path, nbytes: int, blocks: Iterable[Any], os_: Any
) -> dict[str, Any]:
    """Write and flush one file; what the manifest says of it."""
    digest, at_byte = hashlib.sha256(), 0
    with durable.replacing(path, nbytes, os_=os_) as output:
        for block in blocks:
            output.write_at(block, at_byte)
            digest.update(block)
            at_byte += len(block)
    return {"nbytes": nbytes, "sha256": digest.hexdigest()}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def prefixed(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the names that they have in a file with other groups of them."""
    return {f"{group}/{name}": tensor for name, tensor in tensors.items()}


def stripped(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One group of a file's tensors, under their own names."""
    prefix = f"{group}/"
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
