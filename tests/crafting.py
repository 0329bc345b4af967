"""Files made by hand, byte by byte, so that exactly what a test says is wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from math import prod
from pathlib import Path
from typing import Any

import pytest

from wpack.errors import WpackError
from wpack.tensors import BY_CODE

#: Name, dtype's code, shape and bytes of a stored tensor.
Stored = tuple[str, str, Sequence[int], bytes]

#: A sound plan, and what its file stores.
PLAN: dict[str, Any] = {
    "version": 1,
    "alignment": 64,
    "pools": [
        {"name": "main", "dtype": "F32", "backing": 16, "technique": {"name": "global"}}
    ],
    "tensors": [
        {
            "name": "w",
            "dtype": "F32",
            "shape": [3, 3],
            "parts": [{"pool": "main", "start": 14, "length": 9, "numel": 9}],
        },
        {"name": "b", "dtype": "F32", "shape": [2], "kept": True},
        {"name": "t", "dtype": "F32", "shape": [3, 3], "alias": "w"},
    ],
}
POOL: Stored = ("pool/main", "F32", [16], bytes(64))
BIAS: Stored = ("b", "F32", [2], bytes(8))
STORED = (POOL, BIAS)


def raw_file(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A length, a header and data, none of which needs to fit the others."""
    length = len(header) if length is None else length
    return length.to_bytes(8, "little") + header + data


def one_tensor(fields: str, data: bytes = bytes(8), name: str = "w") -> bytes:
    """A file of one tensor whose fields are the JSON text given."""
    return raw_file(f'{{"{name}":{{{fields}}}}}'.encode(), data)


def safetensors(
    stored: Sequence[Stored],
    metadata: Mapping[str, str] | None = None,
    alignment: int = 8,
) -> bytes:
    """A file that keeps the safetensors rules."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at_byte, data = 0, b""
    for name, code, shape, raw in stored:
        assert len(raw) == prod(shape) * BY_CODE[code].itemsize
        offsets = [at_byte, at_byte + len(raw)]
        header[name] = {"dtype": code, "shape": list(shape), "data_offsets": offsets}
        at_byte, data = offsets[1], data + raw
    text = json.dumps(header, separators=(",", ":")).encode()
    return raw_file(text + b" " * (-(8 + len(text)) % alignment), data)


def wpool(
    plan: Mapping[str, Any] | str,
    stored: Sequence[Stored],
    metadata: Mapping[str, str | None] | None = None,
    alignment: int = 64,
) -> bytes:
    """A ``.wpool`` with checksums that fit.

    Args:
        metadata: Values to put in place of the right ones; None leaves one out.
    """
    digests = {
        name: hashlib.sha256(raw).hexdigest()
        for name, _, _, raw in stored
        if not name.startswith("__pad__")
    }
    digests["__header__"] = "0" * 64
    values: dict[str, str | None] = {
        "format": "wpool",
        "wpool.version": "1",
        "wpool.plan": plan if isinstance(plan, str) else json.dumps(plan),
        "wpool.sha256": json.dumps(digests),
        **(metadata or {}),
    }
    given = {key: value for key, value in values.items() if value is not None}
    blob = safetensors(stored, given, alignment)
    data_byte = 8 + int.from_bytes(blob[:8], "little")
    digest = hashlib.sha256(blob[:data_byte]).hexdigest()
    mark = rb"__header__\": \""
    return blob.replace(mark + b"0" * 64, mark + digest.encode(), 1)


def coded(*streams: tuple[int, bytes]) -> bytes:
    """What a coded pool stores: each stream's form and payload."""
    records = [
        len(data).to_bytes(8, "little") + bytes([form, *bytes(7)])
        for form, data in streams
    ]
    return b"".join([*records, *(data for _, data in streams)])


def plan_with(**changes: Any) -> dict[str, Any]:
    """PLAN with values put in place, ``tensors__0__shape=…``; None takes one out."""
    plan: dict[str, Any] = deepcopy(PLAN)
    for path, value in changes.items():
        *steps, last = (int(s) if s.isdigit() else s for s in path.split("__"))
        place: Any = plan
        for step in steps:
            place = place[step]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return plan


def refusal(error: pytest.ExceptionInfo[WpackError], path: Path) -> str:
    """An error's text with the file's path, which it must begin with, cut off."""
    text = str(error.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")
