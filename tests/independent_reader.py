"""A second reader of ``.wpool`` files, written from ``docs/format.md`` alone.

It shares nothing with wpack and trusts the file; the tests hold it against the real
reader.  It gives every tensor as numpy would hold it: bfloat16 and float8 as the
unsigned integers of the same bits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

_NUMPY = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "C64": "<c8"},
    **{f"{kind}{8 * n}": f"<{kind.lower()}{n}" for kind in "IU" for n in (1, 2, 4, 8)},
    "BOOL": "?",
}


def load(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a file whose pools have the technique ``global``."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    plan = json.loads(header.pop("__metadata__")["wpool.plan"])

    def stored(name: str) -> np.ndarray:
        entry = header[name]
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        numpy_type = _NUMPY.get(entry["dtype"], "u1")
        return np.frombuffer(data[begin:end], numpy_type).reshape(entry["shape"])

    pools = {pool["name"]: pool for pool in plan["pools"]}
    assert all(pool["technique"]["name"] == "global" for pool in pools.values())
    tensors: dict[str, Any] = {}
    for tensor in plan["tensors"]:
        if tensor.get("kept"):
            tensors[tensor["name"]] = stored(tensor["name"])
        elif "parts" in tensor:
            read = [
                _cast(
                    np.take(
                        stored("pool/" + part["pool"]),
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
