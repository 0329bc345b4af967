"""How near the entropy stage comes to the order-0 entropy of real weights' symbols.

    WPACK_DATA=… python -m benchmarks.codecs.entropy
    WPACK_DATA=… python -m benchmarks.codecs.entropy --level 1 --json /tmp/e.json

All matrices and kernels of ResNet-56 (CIFAR-10) and of stories260K, as one pool of
ratio 1, through ``int4``, ``int8`` and ``kmeans: 5``, also after ``prune: 0.9``, and
``zstd``.  `WPACK_DATA` is a folder with `models/*.safetensors`; beside them normal
weights, which no coder takes below the entropy of.

*Entropy* is that of all streams, scales and codebooks included, each symbol counted
by itself over the whole pool.  A coder goes below it where what is common changes
along the pool.  *plain* is the same chain without zstd; seconds are to encode and to
decode, of one CPU.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.codecs.arms import written
from benchmarks.codecs.decoding import machine
from wpack import checkpoint
from wpack.codecs.zstd import Zstd
from wpack.tensors import FLOAT32

MODULE = "-m", "benchmarks.codecs.entropy"
RESULTS = Path(__file__).parents[1] / "results" / "codec_entropy.json"
MODELS = {
    "ResNet-56": "resnet56-cifar10-akamaster.safetensors",
    "stories260K": "stories260K.safetensors",
}
#: Label → codecs, and whether the bar is for them.
CHAINS: dict[str, tuple[list[tuple[str, Any]], bool]] = {
    "int4": ([("int", 4)], True),
    "int8": ([("int", 8)], True),
    "kmeans-5": ([("kmeans", 5)], True),
    "int3": ([("int", 3)], False),
    "ternary": ([("ternary", None)], False),
    "prune, kmeans-5": ([("prune", 0.9), ("kmeans", 5)], False),
    "prune, int4": ([("prune", 0.9), ("int", 4)], False),
    "bfloat16": ([("bfloat16", None)], False),
    "none": ([], False),
}
#: At most this share above the entropy.
BAR = 0.03


def pool(path: Path) -> np.ndarray:
    """All that has two dimensions or more, in the checkpoint's order."""
    with checkpoint.open(path) as file:
        return np.concatenate(
            [
                file.read(info.name).astype("<f4")
                for info in file.infos
                if len(info.shape) > 1 and info.dtype == FLOAT32
            ]
        )


def measure(weights: np.ndarray, label: str, level: int) -> dict[str, Any]:
    """One chain's row."""
    codecs, promised = CHAINS[label]
    chain = written([*({name: value} for name, value in codecs), {"zstd": level}])
    begin = time.process_time()
    encoded = chain.encode(weights, FLOAT32)
    encode_seconds = time.process_time() - begin
    out, data = np.zeros_like(weights), encoded.data
    begin = time.process_time()
    chain.decode(lambda a, b: data[a:b], len(data), FLOAT32, out, label)
    decode_seconds = time.process_time() - begin
    over = len(data) / encoded.entropy_nbytes - 1
    return {
        "chain": label,
        "plain_bytes": chain.bound(len(weights), FLOAT32),
        "entropy_bytes": round(encoded.entropy_nbytes),
        "coded_bytes": len(data),
        "over": over,
        "bits_per_weight": 8 * len(data) / len(weights),
        "encode_seconds": encode_seconds,
        "decode_seconds": decode_seconds,
        **({"holds": over <= BAR} if promised else {}),
    }


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--level", type=int, default=Zstd().level, help="of zstd")
    parser.add_argument("--json", type=Path, default=RESULTS)
    options = parser.parse_args()
    folder = Path(os.environ["WPACK_DATA"], "models")
    pools = {name: pool(folder / file) for name, file in MODELS.items()}
    random = np.random.default_rng(0)
    pools["normal"] = random.standard_normal(1 << 20, "<f4") * np.float32(0.05)
    rows = []
    for name, weights in pools.items():
        for label in CHAINS:
            row = measure(weights, label, options.level)
            rows.append({"weights": name, "numel": len(weights), **row})
            print(
                f"{name:12}{label:18}{row['plain_bytes']:9} plain"
                f"{row['entropy_bytes']:9} entropy{row['coded_bytes']:9} coded"
                f"{row['over']:+8.2%}{row['encode_seconds']:7.2f} s"
                f"  {({True: 'holds', False: 'MISSED'}).get(row.get('holds'), '')}",
                flush=True,
            )
    report = {
        "level": options.level,
        "bar": BAR,
        "command": shlex.join(["python", *MODULE, *sys.argv[1:]]),
        "machine": machine(),
        "rows": rows,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
