"""``.wpool`` and ``.safetensors`` files: framing, header, plan, checksums, data.

An input is a whole file.  Its changes are made inside: to the header, to the plan in
it, to the data; then, mostly, what is stored is made what the plan says, and checksums
and lengths are put right, since nothing lies behind a wrong one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import numpy as np
from safetensors import deserialize

from fuzz import trees
from fuzz.plans import check_plan, check_weights
from fuzz.target import Target, folder, insist
from tests import independent_reader
from wpack import container, header, plan_text
from wpack.arrangement import Arrangement, arrange, coded
from wpack.container import Container
from wpack.errors import FormatError, WpackError
from wpack.header import Header
from wpack.plan_reader import read_plan
from wpack.tensors import BY_CODE
from wpack.weight_file import PooledWeights

#: Most bytes of working weights, and of what a changed plan may have stored.
_MAX_WORKING, _MAX_STORED = 1 << 22, 1 << 14
_ZEROS = "0" * 64
#: It has no types.
_DESERIALIZE: Any = deserialize

WORDS = (
    *BY_CODE,
    *("dtype", "shape", "data_offsets", "__metadata__", "__header__", "__pad__.0"),
    *("format", "wpool", "pt", "wpool.version", "wpool.plan", "wpool.sha256"),
    *("wpool.spec", "wpool.source", "wpool.info.x", "wpool.x", "pool/", "pool/main"),
    *("version", "alignment", "pools", "tensors", "name", "technique", "backing"),
    *("kept", "alias", "parts", "pool", "start", "length", "numel", "part", "main"),
    *("global", "all_pairs", "hashed", "layered", "outer", "smh", "seed", "permute"),
    *("codecs", "groups", "group", "kept/0", "wpool.plan.zlib", "wpool.info.codecs"),
    *("prune", "share", "0.5", "by", "fisher", "int", "bits", "block", "binary"),
    *("ternary", "pow2", "kmeans", "float16", "bfloat16", "float8_e4m3", "zstd"),
    *("nbytes", "sha256", "wpack", _ZEROS, "\x80\x02", "PK\x03\x04", "GGUF"),
)

#: Codecs that the independent reader has.
_KNOWN = {"prune", "int", "float16", "zstd"}


def read(data: bytes) -> None:
    """Open a file as ``wpack`` does, and compare it with two other readers."""
    fd = _file(data)
    _check_header(header.read_header(fd, "x"), data)
    with container.read(fd, max_working_bytes=_MAX_WORKING) as file:
        problems = container.verify(file)
        for problem in problems:
            insist(problem.isprintable(), f"finds {problem!r}, which is not one line")
        check_plan(file.plan)
        check_weights(file.plan)
        _check_source(file)
        if all("no checksums" in text or "padding" in text for text in problems):
            _check_weights(file, data)


@cache
def _memory() -> int:
    return os.memfd_create("fuzz")


def _file(data: bytes) -> int:
    """A descriptor of a file that holds these bytes."""
    fd = _memory()
    os.ftruncate(fd, len(data))
    os.pwrite(fd, data, 0)
    return fd


def _check_header(found: Header, data: bytes) -> None:
    """safetensors reads what wpack reads, and the same; so does wpack what it writes
    of it."""
    content = data[found.data_byte :]
    peer: Any = dict(_DESERIALIZE(data))
    insist({entry.name for entry in found.entries} == set(peer), "has other tensors")
    for name, code, shape, begin, end in found.entries:
        other = peer[name]
        insist((code.code, list(shape)) == (other["dtype"], other["shape"]), "differs")
        insist(content[begin:end] == bytes(other["data"]), "has other bytes")
    again = header.build_header(found.metadata, found.entries)
    read_again = header.read_header(_file(again + content), "x")
    insist(read_again.entries == found.entries, "has other tensors when written")
    insist(read_again.metadata == found.metadata, "has other metadata when written")
    _file(data)


def _check_source(file: Container) -> None:
    """What a file says of where it comes from is read, or refused likewise."""
    try:
        file.source  # noqa: B018
    except FormatError as error:
        insist(str(error).isprintable(), f"says {error!r}, which is not one line")


def _check_weights(file: Container, data: bytes) -> None:
    """Its weights are those that the independent reader makes."""
    weights = PooledWeights(file)
    made = {
        info.name: b"".join(block.tobytes() for block in weights.blocks(info.name))
        for info in weights.infos
    }
    for info in weights.infos:
        insist(len(made[info.name]) == info.nbytes, "makes other sizes")
    views = all(pool.technique.zero_copy for pool in file.plan.pools)
    chains = [each.chain for each in coded(file.plan).values()]
    if not views or not all(_KNOWN.issuperset(chain.names) for chain in chains):
        return
    path = folder() / "x.wpool"
    path.write_bytes(data)
    with np.errstate(invalid="ignore"):
        expected = independent_reader.load(path)
    insist(list(expected) == list(made), "has other tensors in another order")
    for info in weights.infos:
        insist(info.shape == expected[info.name].shape, "has other shapes")
        # The payload of a NaN is lost in a cast, on both sides.
        insist(_alike(made[info.name], expected[info.name]), "makes other weights")


def _alike(made: bytes, expected: np.ndarray) -> bool:
    raw = np.frombuffer(made, expected.dtype)
    flat = expected.reshape(-1)
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(raw, flat))
    return bool(np.array_equal(raw, flat, equal_nan=True))


@dataclass
class _Parts:
    """A file taken apart: its header as a tree, and its data."""

    header: dict[str, Any]
    data: bytes
    #: Text to write in place of the header's own.
    text: str | None = None
    metadata: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        found = self.header.get("__metadata__")
        self.metadata = found if isinstance(found, dict) else {}

    @property
    def plan(self) -> str:
        return plan_in(self.metadata)

    @plan.setter
    def plan(self, text: str) -> None:
        self.metadata.pop(plan_text.DEFLATED, None)
        self.metadata[plan_text.PLAIN] = text


def plan_in(metadata: Mapping[str, Any]) -> str:
    """The plan of a file that may break every rule, or ""."""
    text = metadata.get(plan_text.PLAIN, "")
    if not text and isinstance(metadata.get(plan_text.DEFLATED), str):
        try:
            text = plan_text.text_of({plan_text.DEFLATED: metadata[plan_text.DEFLATED]})
        except FormatError:
            return ""
    return text if isinstance(text, str) else ""


def mutate(data: bytes, other: bytes, random: Random) -> bytes | None:
    """Change a file inside, and mostly put right what that made wrong."""
    parts, donor = _apart(data), _apart(other)
    if parts is None:
        return None
    donor = donor or parts
    choice = random.random()
    if choice < 0.5 and parts.plan:
        text = trees.mutated(parts.plan, donor.plan, random, WORDS)
        parts.plan = text
    elif choice < 0.7:
        _change_header(parts, donor, random)
    elif choice < 0.8:
        text = trees.respelled(json.dumps(parts.header), random, WORDS)
        return _joined(text.encode("utf-8", "surrogatepass"), parts.data, random)
    else:
        _change_data(parts, random)
    if random.random() < 0.8:
        _store(parts, random)
    if random.random() < 0.9 and "wpool.sha256" in parts.metadata:
        return _sealed(parts, random)
    return _joined(json.dumps(parts.header).encode(), parts.data, random)


def _apart(data: bytes) -> _Parts | None:
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= len(data) - 8:
        return None
    found = trees.parsed(data[8 : 8 + length].rstrip(b" "))
    return _Parts(found, data[8 + length :]) if isinstance(found, dict) else None


def _change_header(parts: _Parts, donor: _Parts, random: Random) -> None:
    changed = trees.changed(parts.header, donor.header, random, WORDS)
    if isinstance(changed, dict):
        parts.header = changed
        parts.__post_init__()


def _change_data(parts: _Parts, random: Random) -> None:
    at = random.randint(0, len(parts.data))
    by = random.choice((b"", b"\0", b"\1", b"\2", b"\xff" * 4, random.randbytes(3)))
    kept = at + random.choice((len(by), len(by), 0, 1))
    parts.data = parts.data[:at] + by + parts.data[kept:]


def _store(parts: _Parts, random: Random) -> None:
    """Make what is stored what the plan says, where the plan says anything."""
    arrangement = _arranged(parts)
    if arrangement is None or arrangement.nbytes > _MAX_STORED:
        return
    found = {"__metadata__": parts.header.get("__metadata__", {})}
    content = b""
    for entry in arrangement.entries:
        offsets = [entry.begin_byte, entry.end_byte]
        code, shape = entry.dtype.code, list(entry.shape)
        found[entry.name] = {"dtype": code, "shape": shape, "data_offsets": offsets}
        old = parts.data[entry.begin_byte : entry.end_byte]
        zero = entry.name.startswith("__pad__") or code == "BOOL"
        content += bytes(entry.nbytes) if zero else old.ljust(entry.nbytes, b"\1")
    parts.header, parts.data = found, content


def _arranged(parts: _Parts) -> Arrangement | None:
    try:
        plan = read_plan(parts.plan)
        # What is coded keeps the size it has.
        found = ((name, parts.header.get(name)) for name in coded(plan))
        sizes = {name: len(_content(entry, parts.data)) for name, entry in found}
        return arrange(plan, sizes)
    except WpackError:
        return None
    except Exception:
        # A finding of the target of plans; here it only stays as it is.
        return None


def _sealed(parts: _Parts, random: Random) -> bytes:
    """The file with checksums that fit, but for a few."""
    digests = {"__header__": _ZEROS}
    for name, entry in parts.header.items():
        if name != "__metadata__" and not name.startswith("__pad__"):
            digests[name] = hashlib.sha256(_content(entry, parts.data)).hexdigest()
    text: Any = digests
    if random.random() < 0.05:
        text = trees.changed(digests, {}, random, WORDS)
    parts.metadata["wpool.sha256"] = json.dumps(text)
    blob = _joined(json.dumps(parts.header).encode(), parts.data, random)
    length = 8 + int.from_bytes(blob[:8], "little")
    digest = hashlib.sha256(blob[:length]).hexdigest().encode()
    mark = rb"__header__\": \""
    return blob.replace(mark + b"0" * 64, mark + digest, 1)


def _content(entry: Any, data: bytes) -> bytes:
    try:
        begin, end = entry["data_offsets"]
        return data[begin:end]
    except (TypeError, ValueError, KeyError):
        return b""


def _joined(text: bytes, data: bytes, random: Random) -> bytes:
    """A file of a header and data, the length right and the data aligned, mostly."""
    alignment = random.choice((64, 64, 64, 64, 64, 64, 4096, 8, 1))
    text += b" " * (-(8 + len(text)) % alignment)
    length = len(text) + (random.choice((-1, 1, 64)) if random.random() < 0.02 else 0)
    return length.to_bytes(8, "little") + text + data


TARGET = Target(
    name="container",
    aims=(
        *("wpack.header", "wpack.conformance", "wpack.plan_reader", "wpack.source"),
        *("wpack.strict_json", "wpack.untrusted", "wpack.names"),
    ),
    refusals=(FormatError,),
    read=read,
    mutate=mutate,
    words=WORDS,
)
