"""Safetensors headers, read strictly and written the same way every time.

A safetensors file is a length (8 bytes, little endian), a JSON object of that length
naming each tensor's dtype, shape and place, and the data section that those places
tile.  ``.wpool`` files and third-party ``.safetensors`` come through here alike.  The
reader is our own: safetensors 0.8 accepts duplicate names and keys, unknown fields,
leading blanks and control characters in names (``docs/format.md`` has the rules).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from . import strict_json, untrusted
from .errors import FormatError
from .inputs import AGAIN, naming, other_format, read_bytes, read_into, truncated
from .inputs import open_regular as open_regular
from .names import encodable, name_problem, shown
from .tensors import DType

#: Largest header read unless the caller allows more: about 235,000 slices.
MAX_HEADER = 16 << 20
#: Largest header that safetensors itself reads.
FORMAT_LIMIT = 100_000_000

_ENTRY_KEYS = frozenset({"dtype", "shape", "data_offsets"})


class Entry(NamedTuple):
    """One stored tensor.

    Attributes:
        begin_byte: First byte, counted from the start of the data section.
        end_byte: First byte after it, counted likewise.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    begin_byte: int
    end_byte: int

    @property
    def nbytes(self) -> int:
        """Stored bytes."""
        return self.end_byte - self.begin_byte

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file's header says.

    Attributes:
        metadata: The ``__metadata__`` object, empty where there is none.
        entries: Every tensor, in the order of their places.
        data_byte: Where in the file the data section starts.
        file_bytes: The file's size.
    """

    metadata: dict[str, str]
    entries: tuple[Entry, ...]
    data_byte: int
    file_bytes: int


def read_header(fd: int, where: str, *, max_header: int = MAX_HEADER) -> Header:
    """Read and check a whole header; no tensor's data is touched.

    Args:
        fd: An open regular file.
        where: The file's name for messages.
        max_header: Largest header accepted, in bytes.

    Raises:
        FormatError: The file breaks a rule of ``docs/format.md``.
        StorageError: The operating system could not read it.
    """
    file_bytes = os.fstat(fd).st_size
    head = read_bytes(fd, 0, min(file_bytes, 256), where)
    with naming(where):
        length = _header_length(head, file_bytes, max_header)
        text = read_bytes(fd, 8, length, where)
        parsed = _parse(text)
        metadata = _metadata(parsed.pop("__metadata__", {}))
        entries = [_placed_entry(name, fields) for name, fields in parsed.items()]
        entries.sort(key=attrgetter("begin_byte", "end_byte"))
        _check_tiling(entries, 8 + length, file_bytes)
    return Header(metadata, tuple(entries), 8 + length, file_bytes)


def build_header(
    metadata: Mapping[str, str], entries: Iterable[Entry], alignment: int = 8
) -> bytes:
    """A header's bytes: length, ASCII JSON, spaces up to a multiple of ``alignment``.

    Metadata is written with its keys sorted, tensors in the order given.

    Raises:
        FormatError: It would be larger than safetensors readers accept.
    """
    whole: dict[str, Any] = {}
    if metadata:
        whole["__metadata__"] = dict(sorted(metadata.items()))
    for entry in entries:
        whole[entry.name] = {
            "dtype": entry.dtype.code,
            "shape": entry.shape,
            "data_offsets": (entry.begin_byte, entry.end_byte),
        }
    text = json.dumps(whole, separators=(",", ":")).encode()
    length = len(text) + -(8 + len(text)) % alignment
    if length > FORMAT_LIMIT:
        raise FormatError(
            f"the header would take {length} bytes; safetensors allows {FORMAT_LIMIT}",
            hint="Use fewer tensors or fewer slices",
        )
    return length.to_bytes(8, "little") + text.ljust(length)


def read_raw(
    fd: int, header: Header, entry: Entry, begin: int, end: int, where: str
) -> np.ndarray:
    """Elements ``begin … end - 1`` of a stored tensor, in row-major order.

    Returns:
        A new raw 1-D array of ``end - begin`` elements.

    Raises:
        FormatError: A BOOL is neither 0 nor 1, or the file has been cut meanwhile.
        StorageError: The operating system could not read it.
    """
    raw = np.empty(end - begin, entry.dtype.raw)
    bits = raw.view("u1")
    begin_byte = header.data_byte + entry.begin_byte + begin * entry.dtype.itemsize
    read_into(fd, bits, begin_byte, where)
    if entry.dtype.code == "BOOL" and bits.size and bits.max() > 1:
        at = int(np.argmax(bits > 1))
        raise FormatError(
            f"tensor {shown(entry.name)}: element {begin + at} is the BOOL {bits[at]},"
            " neither 0 nor 1",
            where=where,
        )
    return raw


def _header_length(head: bytes, file_bytes: int, max_header: int) -> int:
    """The header's length, within its bounds; nothing has been allocated for it."""
    length = int.from_bytes(head[:8], "little")
    what = hint = ""
    if file_bytes < 8:
        what = f"not a safetensors or .wpool file ({file_bytes} bytes)"
    elif length < 2:
        what = f"its header length is {length}; the shortest header is 2 bytes"
    elif length > FORMAT_LIMIT:
        what = f"its header length is {length}; safetensors allows {FORMAT_LIMIT}"
    elif length > file_bytes - 8:
        what = f"truncated: needs at least {8 + length} bytes, has {file_bytes}"
        hint = AGAIN
    elif head[8:9] != b"{":
        what = f"its header begins with byte 0x{head[8]:02x}, not with '{{'"
    elif length > max_header:
        what = f"its header is {length} bytes; the limit is {max_header}"
        hint = f"If you trust the file, give --max-header {length}"
    if what:
        if other := other_format(head):
            what, hint = f"not a safetensors or .wpool file but {other[0]}", other[1]
        raise FormatError(what, hint=hint)
    return length


def _parse(text: bytes) -> dict[str, Any]:
    # rstrip() would look at up to 64 KiB of spaces one at a time.
    end = text.rfind(b"}") + 1
    padded = text.endswith(b" " * (len(text) - end))
    stripped = text[:end] if padded else text.rstrip(b" ")
    if stripped[-1:] != b"}":
        raise FormatError(
            f"its header ends with byte 0x{stripped[-1]:02x}, not with '}}' and spaces"
        )
    # A tensor's entry takes 17 bytes a bracket or more.  Without this, a header full
    # of empty lists would become objects of 30 times its size.
    if stripped.count(b"[") + stripped.count(b"{") > 4096 + len(stripped) // 12:
        raise FormatError("its header has more brackets than its tensors can need")
    try:
        parsed = strict_json.loads(stripped.decode())
    except UnicodeDecodeError as error:
        raise FormatError(f"its header is not UTF-8 at byte {error.start}") from None
    except ValueError as error:
        raise FormatError(f"its header: {error}") from None
    # It begins with '{'.
    found: dict[str, Any] = parsed
    return found


def _metadata(fields: Any) -> dict[str, str]:
    where = "__metadata__"
    found = dict(untrusted.mapping(fields, where, "the entry"))
    for key, value in found.items():
        if not isinstance(value, str):
            raise FormatError(f"the value of {shown(key)} is no string", where=where)
        if not (encodable(key) and encodable(value)):
            raise FormatError(f"{shown(key)} is not valid Unicode", where=where)
    return found


def _placed_entry(name: str, fields: Any) -> Entry:
    """An entry, or a refusal that names it: a sound one needs no place."""
    if problem := name_problem(name):
        raise FormatError(problem)
    try:
        return _entry(name, fields)
    except FormatError as error:
        place = f"tensor {shown(name)}"
        raise FormatError(error.what, where=place, hint=error.hint) from None


def _entry(name: str, fields: Any) -> Entry:
    where = ""
    untrusted.keys_of(fields, where, _ENTRY_KEYS)
    dtype = untrusted.dtype_of(fields["dtype"], where)
    shape = untrusted.shape_of(fields["shape"], where)
    if 0 in shape and math.prod(size or 1 for size in shape) >= untrusted.MAX_INT:
        raise FormatError(f"shape {list(shape)} is too large")
    offsets = untrusted.items(fields["data_offsets"], where, "data_offsets")
    if len(offsets) != 2:
        raise FormatError(f"data_offsets must be two numbers, got {len(offsets)}")
    begin = untrusted.integer(offsets[0], where, "data_offsets")
    end = untrusted.integer(offsets[1], where, "data_offsets")
    if begin > end:
        raise FormatError(f"begins at byte {begin} but ends at {end}")
    needed = math.prod(shape) * dtype.itemsize
    if needed != end - begin:
        raise FormatError(
            f"{dtype.code} of shape {list(shape)} takes {needed} bytes, but its"
            f" data_offsets span {end - begin}"
        )
    return Entry(name, dtype, shape, begin, end)


def _check_tiling(entries: list[Entry], data_byte: int, file_bytes: int) -> None:
    """Every byte of the data section belongs to exactly one tensor."""
    at_byte, last = 0, None
    for entry in entries:
        if entry.begin_byte != at_byte:
            before = "the header" if last is None else f"tensor {shown(last.name)}"
            gap = entry.begin_byte - at_byte
            found = f"{gap} unreferenced bytes" if gap > 0 else f"{-gap} shared bytes"
            raise FormatError(
                f"{found} between {before} and tensor {shown(entry.name)}, at byte"
                f" {data_byte + min(at_byte, entry.begin_byte)}"
            )
        at_byte, last = entry.end_byte, entry
    before = "the header" if last is None else f"tensor {shown(last.name)}"
    end_byte = data_byte + at_byte
    if end_byte > file_bytes:
        raise truncated(end_byte, file_bytes)
    if end_byte < file_bytes:
        raise FormatError(
            f"{file_bytes - end_byte} unreferenced bytes after {before}, at byte"
            f" {end_byte}"
        )
