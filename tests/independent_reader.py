"""A second reader of ``.wpool`` files, written from ``docs/format.md`` alone.

It shares nothing with wpack and trusts the file; the tests hold it against the real
reader.  It gives every tensor as numpy would hold it: bfloat16 and float8 as the
unsigned integers of the same bits.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

_NUMPY = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "C64": "<c8"},
    **{f"{kind}{8 * n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)},
    "BOOL": "?",
}
#: Symbols in a chunk of a stream.
_CHUNK = 1 << 20


def load(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file whose pools have the technique ``global``, coded by
    ``prune``, ``int``, ``float16`` and ``zstd`` or not at all."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    if "wpool.plan.zlib" in metadata:
        text = zlib.decompress(base64.b64decode(metadata["wpool.plan.zlib"]))
    else:
        text = metadata["wpool.plan"]
    plan = json.loads(text)

    def stored(name: str) -> np.ndarray:
        entry = header[name]
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        numpy_type = _NUMPY.get(entry["dtype"], "u1")
        found: np.ndarray = np.frombuffer(data[begin:end], numpy_type)
        found = found.reshape(entry["shape"])
        return found

    def values(name: str, coded: dict[str, Any], numel: int) -> np.ndarray:
        raw = stored(name)
        if "codecs" not in coded:
            return raw
        return _decode(raw, coded["codecs"], coded["dtype"], numel)

    pools = {pool["name"]: pool for pool in plan["pools"]}
    assert all(pool["technique"]["name"] == "global" for pool in pools.values())
    groups = [_members(plan, index) for index in range(len(plan.get("groups", ())))]
    grouped: dict[str, np.ndarray] = {}
    for index, members in enumerate(groups):
        numels = [int(np.prod(t["shape"], dtype=object)) for t in members]
        coded = {**plan["groups"][index], "dtype": members[0]["dtype"]}
        together = values(f"kept/{index}", coded, sum(numels))
        ends = np.cumsum([0, *numels])
        for tensor, begin, end in zip(members, ends, ends[1:], strict=False):
            grouped[tensor["name"]] = together[begin:end]
    backing = {
        n: values("pool/" + n, pool, pool["backing"]) for n, pool in pools.items()
    }
    tensors: dict[str, Any] = {}
    for tensor in plan["tensors"]:
        if tensor.get("kept"):
            name = tensor["name"]
            found = grouped[name] if name in grouped else stored(name)
            tensors[name] = found.reshape(tensor["shape"])
        elif "parts" in tensor:
            read = [
                _cast(
                    np.take(
                        backing[part["pool"]],
                        (part["start"] + np.arange(part["numel"]))
                        % pools[part["pool"]]["backing"],
                    ),
                    pools[part["pool"]]["dtype"],
                    tensor["dtype"],
                )
                for part in tensor["parts"]
            ]
            tensors[tensor["name"]] = np.concatenate(read).reshape(tensor["shape"])
    for tensor in plan["tensors"]:
        if "alias" in tensor:
            tensors[tensor["name"]] = tensors[tensor["alias"]]
    return {tensor["name"]: tensors[tensor["name"]] for tensor in plan["tensors"]}


@np.errstate(over="ignore")
def _cast(values: np.ndarray, source: str, target: str) -> np.ndarray:
    """Between the four types of a pool: widen exactly, or round to nearest even."""
    if source == target:
        return values
    if source == "BF16":
        values = (values.astype("<u4") << 16).view("<f4")
    if target != "BF16":
        return values.astype(_NUMPY[target])
    bits = values.astype("<f4").view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype("<u2")


def _members(plan: dict[str, Any], group: int) -> list[dict[str, Any]]:
    return [tensor for tensor in plan["tensors"] if tensor.get("group") == group]


def _decode(
    blob: np.ndarray, codecs: Sequence[dict[str, Any]], dtype: str, numel: int
) -> np.ndarray:
    """The values of a coded pool or group of kept tensors."""
    options = {codec["name"]: codec for codec in codecs}
    left = numel
    if "prune" in options:
        left -= int(Decimal(options["prune"].get("share", "0.9")) * numel)
    itemsize = np.dtype(_NUMPY[dtype]).itemsize
    if "int" in options:
        most = 2 ** (options["int"].get("bits", 8) - 1) - 1
        block = options["int"].get("block", 64)
        kinds = [(1, 1 << 32), (-(-left // block), 1 << 16), (left, 2 * most + 1)]
    elif "float16" in options:
        kinds = [(left, 1 << 16)]
    else:
        words = max(1, itemsize // 4)
        kinds = [(left * words, 1 << 8 * itemsize // words)]
    mask = [(numel, 2)] if "prune" in options else []
    streams = list(_streams(blob, mask + kinds))
    kept = streams.pop(0).astype(bool) if mask else np.ones(numel, bool)
    if "int" in options:
        unit, scales, codes = streams
        scale = np.repeat(scales.view("<f2").astype("<f4") * unit.view("<f4"), block)
        made = _cast((codes.astype("<f4") - most) * scale[:left], "F32", dtype)
    elif "float16" in options:
        made = _cast(streams[0].view("<f2"), "F16", dtype)
    else:
        made = streams[0].view(_NUMPY[dtype])
    values = np.zeros(numel, _NUMPY[dtype])
    values[kept] = made
    return values


def _streams(
    blob: np.ndarray, kinds: Sequence[tuple[int, int]]
) -> Iterator[np.ndarray]:
    """Symbols of each stream: numbers and levels are given."""
    at = 16 * len(kinds)
    for index, (numel, levels) in enumerate(kinds):
        record = blob[16 * index : 16 * index + 16]
        size, form = int(record[:8].view("<u8")[0]), record[8]
        payload, at = blob[at : at + size], at + size
        numels = [min(_CHUNK, numel - i) for i in range(0, numel, _CHUNK)]
        kind = np.dtype(_symbol_type(levels))
        planes = kind.itemsize if form == 2 else 1
        if form == 0:
            sizes = [_packed_nbytes(n, levels) for n in numels]
        else:
            sizes = payload[: 4 * planes * len(numels)].view("<u4").tolist()
            payload = payload[4 * planes * len(numels) :]
        frames = np.split(payload, np.cumsum(sizes))[:-1]
        chunks = [
            _symbols(frames[planes * i : planes * (i + 1)], form, n, levels)
            for i, n in enumerate(numels)
        ]
        yield np.concatenate([np.empty(0, kind), *chunks])


def _symbols(
    frames: Sequence[np.ndarray], form: int, numel: int, levels: int
) -> np.ndarray:
    """A chunk's symbols, of one frame or of one for each plane."""
    kind = np.dtype(_symbol_type(levels))
    if form:
        unpack = zstandard.ZstdDecompressor().decompress
        frames = [np.frombuffer(unpack(f.tobytes()), "u1") for f in frames]
    data = np.concatenate(frames)
    symbols: np.ndarray
    if form == 2:
        symbols = data.reshape(kind.itemsize, numel).T.copy().view(kind)
        return symbols.reshape(-1)
    if levels == 3:
        trits: np.ndarray = data[:, None] // [1, 3, 9, 27, 81] % 3
        symbols = trits.reshape(-1)[:numel].astype("u1")
        return symbols
    if levels > 256:
        return data.view(kind)
    width = (levels - 1).bit_length()
    if form == 1:
        width = next(w for w in (1, 2, 4, 8) if w >= width)
    bits = np.unpackbits(data, bitorder="little")[: numel * width]
    return (bits.reshape(numel, width) @ (1 << np.arange(width))).astype("u1")


def _packed_nbytes(numel: int, levels: int) -> int:
    if levels == 3:
        return -(-numel // 5)
    return -(-numel * (levels - 1).bit_length() // 8)


def _symbol_type(levels: int) -> str:
    return "u1" if levels <= 256 else "<u2" if levels == 1 << 16 else "<u4"
