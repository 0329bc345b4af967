"""Files of ``torch.save``: the zip archive, its list of entries, and the pickle in it.

An input is a whole file.  Its changes are made to the pickle's instructions, to what
the other entries hold, and to the archive's own records; then checksums are put right,
mostly.  Files from before torch 1.6 are changed in their instructions alone.
"""

from __future__ import annotations

import io
import pickletools
import struct
import warnings
import zipfile
from collections.abc import Iterator
from random import Random

import numpy as np
import torch  # noqa: F401  Importing it is not to count as reading a file.

from fuzz.target import Target, folder, insist
from wpack import checkpoint
from wpack.checkpoint import Checkpoint
from wpack.errors import CheckpointError, FormatError, UsageError
from wpack.names import name_problem

_DIRECTORY = b"PK\1\2"
#: Most elements read of a tensor that a small file claims to be large.
_MAX_NUMEL = 1 << 12

_GLOBALS = (
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"),
    *("torch._utils _rebuild_parameter", "torch._utils _rebuild_sparse_tensor"),
    *("torch._utils _rebuild_qtensor", "torch._utils _rebuild_nested_tensor"),
    *("torch._utils _rebuild_meta_tensor_no_storage", "torch._utils _rebuild_tensor"),
    *("torch._utils _rebuild_device_tensor_from_numpy", "torch.nn.parameter Parameter"),
    *("torch._utils _rebuild_parameter_with_state", "torch Tensor", "torch Size"),
    *("torch._tensor _rebuild_from_type_v2", "torch.nn.parameter Buffer"),
    *("collections OrderedDict", "collections Counter", "__builtin__ bytearray"),
    *("__builtin__ set", "__builtin__ complex", "_codecs encode", "os system"),
    *("torch FloatStorage", "torch HalfStorage", "torch BoolStorage", "torch float64"),
    *("torch.storage UntypedStorage", "torch.storage TypedStorage", "torch device"),
    *("torch BFloat16Storage", "torch QInt8Storage", "torch ComplexDoubleStorage"),
    *("torch.serialization _get_layout", "torch sparse_coo", "torch per_tensor_affine"),
    *("torch float8_e8m0fnu", "torch bits8", "torch uint7", "torch int1"),
)
WORDS = (
    *("data.pkl", "archive/data.pkl", "archive/data/0", "archive/version", "version"),
    *("archive/byteorder", ".data/serialization_id", "archive/.storage_alignment"),
    *("constants.pkl", "x.npy", "storage", "cpu", "meta", "cuda:0", "0", "1", "weight"),
    *(
        "state_dict",
        "model",
        "model_ema",
        "module.w",
        "_orig_mod.w",
        "epoch",
        "\x1b[2J",
    ),
)


def read(data: bytes) -> None:
    """Open a torch file, and read its tensors."""
    path = folder() / "x.pt"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    try:
        _check(checkpoint.open(path))
    except UsageError:
        # It holds several models.
        _check(checkpoint.open(path, "model"))


def _check(opened: Checkpoint) -> None:
    with opened as found:
        for note in found.notes:
            insist(note.isprintable(), f"notes {note!r}, which is not one line")
        insist(len({i.name for i in found.infos}) == len(found.infos), "names twice")
        _check_tensors(found)


def _check_tensors(found: Checkpoint) -> None:
    whole = {info.name: info for info in found.infos if info.alias_of is None}
    for info in found.infos:
        found.close()  # It is opened again.
        insist(not name_problem(info.name), f"has the name {info.name!r}")
        if info.alias_of is not None:
            insist(info.alias_of in whole, "is an alias of nothing")
            target = whole[info.alias_of]
            insist(target[1:3] == info[1:3], "is an alias of another shape or dtype")
        numel = min(info.numel, _MAX_NUMEL)
        raw = found.read(info.name, info.numel - numel, numel)
        insist(raw.shape == (numel,), "reads other sizes")
        insist(raw.dtype == np.dtype(info.dtype.raw), "reads another dtype")


def mutate(data: bytes, other: bytes, random: Random) -> bytes | None:
    """Change a file inside, and mostly put right what that made wrong."""
    entries = _entries(data)
    if entries is None:
        return _changed_pickle(data, other, random) if data[:1] == b"\x80" else None
    if random.random() < 0.15:
        return _changed_records(data, random)
    for _ in range(random.choice((1, 1, 2))):
        if random.random() < 0.7:
            _change_pickle(entries, _entries(other) or entries, random)
        else:
            _change_entries(entries, random)
    return _zipped(entries, random)


_Entries = list[tuple[str, bytes]]


def _entries(data: bytes) -> _Entries | None:
    """Names and contents of a zip file, as far as they can be made out."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [(e.filename, _content(data, e)) for e in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, NotImplementedError):
        return None


def _content(data: bytes, entry: zipfile.ZipInfo) -> bytes:
    """An entry's bytes, whatever its checksum says."""
    head = data[entry.header_offset : entry.header_offset + 30]
    if len(head) < 30:
        return b""
    name, extra = struct.unpack("<HH", head[26:30])
    begin = entry.header_offset + 30 + name + extra
    return data[begin : begin + entry.file_size]


def _zipped(entries: _Entries, random: Random) -> bytes:
    buffer = io.BytesIO()
    packed = random.random() < 0.03
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of names that stand twice.
        _write(buffer, entries, 8 if packed else 0)
    return buffer.getvalue()


def _write(buffer: io.BytesIO, entries: _Entries, compression: int) -> None:
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            archive.writestr(entry, content, compression)


def _change_pickle(entries: _Entries, donors: _Entries, random: Random) -> None:
    for at, (name, content) in enumerate(entries):
        if name.endswith("data.pkl"):
            others = [c for n, c in donors if n.endswith("data.pkl")] or [content]
            entries[at] = name, _changed_pickle(content, others[0], random)


def _change_entries(entries: _Entries, random: Random) -> None:
    """Rename one, drop one, double one, or change what is in it."""
    at = random.randrange(len(entries)) if entries else 0
    choice = random.randrange(5)
    if choice == 0 or not entries:
        entries.insert(
            at, (random.choice(WORDS), random.randbytes(random.randrange(9)))
        )
    elif choice == 1:
        entries[at] = random.choice(WORDS), entries[at][1]
    elif choice == 2 and len(entries) > 1:
        del entries[at]
    elif choice == 3:
        entries.insert(random.randrange(len(entries)), entries[at])
    else:
        name, content = entries[at]
        words = (b"", b"little", b"big", b"3", b"\2", content[:-1], content * 2)
        entries[at] = name, random.choice((*words, random.randbytes(len(content))))


def _changed_records(data: bytes, random: Random) -> bytes:
    """Change a number in the list of entries or at the archive's end."""
    begin = data.find(_DIRECTORY)
    if begin < 0:
        return data[: random.randrange(len(data) + 1)]
    width = random.choice((1, 2, 4))
    at = random.randrange(begin, max(begin + 1, len(data) - width))
    old = int.from_bytes(data[at : at + width], "little")
    new = random.choice(
        (0, old + 1, old - 1, old * 2, 8, 1, -1, random.getrandbits(32))
    )
    number = (new % (1 << 8 * width)).to_bytes(width, "little")
    return data[:at] + number + data[at + width :]


def _changed_pickle(data: bytes, other: bytes, random: Random) -> bytes:
    """A pickle with some of its instructions doubled, moved, dropped or others."""
    pieces, donors = list(_instructions(data)), list(_instructions(other))
    for _ in range(random.choice((1, 1, 2, 3))):
        at = random.randrange(len(pieces))
        choice = random.randrange(6)
        if choice == 0 and len(pieces) > 1:
            del pieces[at]
        elif choice == 1:
            pieces.insert(at, random.choice(pieces))
        elif choice == 2:
            pieces.insert(at, random.choice(donors))
        elif choice == 3:
            pieces[at] = random.choice(donors)
        else:
            pieces[at] = _instruction(pieces[at], random)
    return b"".join(pieces)


def _instructions(data: bytes) -> Iterator[bytes]:
    """The pieces of one or several pickles; the last is what follows them."""
    begin = 0
    buffer = io.BytesIO(data)
    try:
        while begin < len(data):
            for _, _, at in pickletools.genops(buffer):
                if at:
                    yield data[begin:at]
                    begin = at
            yield data[begin : buffer.tell()]
            begin = buffer.tell()
    except Exception:
        # What is no instruction to Python may be one to torch.
        pass
    yield data[begin:]


def _instruction(old: bytes, random: Random) -> bytes:
    """Another instruction: of the same kind with another number, or of any kind."""
    if old[:1] == b"c" or random.random() < 0.1:
        module, name = random.choice(_GLOBALS).split()
        return f"c{module}\n{name}\n".encode()
    if old[:1] == b"X" or random.random() < 0.1:
        text = random.choice(WORDS).encode()
        return b"X" + len(text).to_bytes(4, "little") + text
    if old[:1] in b"KMJ" or random.random() < 0.3:
        numbers = (0, 1, 2, 3, 4, 24, 25, 255, 65536, (1 << 31) - 1, -1, -(1 << 31))
        return b"J" + random.choice(numbers).to_bytes(4, "little", signed=True)
    if random.random() < 0.2:
        return b"\x8a\x08" + random.choice((1 << 62, (1 << 63) - 1, 1 << 40)).to_bytes(
            8, "little"
        )
    return bytes([random.choice(b"()]}.0Q2tsueaRb\x81\x85\x86\x87\x88\x89NqhjrG\x80")])


TARGET = Target(
    name="torch_listing",
    aims=(
        *("wpack.checkpoint.torch_archive", "wpack.checkpoint.torch_file"),
        *("wpack.checkpoint.torch_pickle", "wpack.checkpoint.torch_calls"),
        *("wpack.checkpoint.torch_legacy", "wpack.checkpoint.torch_tensors"),
        *("wpack.checkpoint.wrappers", "wpack.checkpoint.recognise"),
    ),
    refusals=(CheckpointError, FormatError, UsageError),
    read=read,
    mutate=mutate,
    words=WORDS,
)
