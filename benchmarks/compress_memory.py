"""Peak memory and time of `wpack compress` on a large sharded checkpoint.

    python benchmarks/compress_memory.py --gib 6 --shards 4 --ratio 4

The checkpoint is made for the run: bfloat16 matrices of random weights in shards, with
an index.  The bar: the pools' fp32 sums + the largest tensor + 400 MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from wpack.header import Entry, build_header
from wpack.tensors import BFLOAT16

ROWS, COLUMNS = 8192, 4096  # 64 MiB a matrix
MIB = 1 << 20


def make_checkpoint(folder: Path, nbytes: int, shards: int) -> int:
    """Write the shards and their index; returns the bytes of the largest tensor."""
    tensor_nbytes = ROWS * COLUMNS * 2
    per_shard = nbytes // tensor_nbytes // shards
    random = np.random.default_rng(0)
    # One block of random bits, exponents tamed, shifted for each tensor.
    noise = random.standard_normal(ROWS * COLUMNS // 8, dtype="<f4").view("<u4") >> 16
    block = noise.astype("<u2")
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        entries = []
        for index in range(per_shard):
            tensor = f"layers.{shard * per_shard + index}.weight"
            begin = index * tensor_nbytes
            shape = (ROWS, COLUMNS)
            entries.append(Entry(tensor, BFLOAT16, shape, begin, begin + tensor_nbytes))
            weight_map[tensor] = name
        with open(folder / name, "wb") as file:
            file.write(build_header({"format": "pt"}, entries))
            for index in range(per_shard):
                for part in range(8):
                    file.write(np.roll(block, 977 * index + part).tobytes())
    index_text = json.dumps({"metadata": {}, "weight_map": weight_map})
    (folder / "model.safetensors.index.json").write_text(index_text)
    return tensor_nbytes


def measure(command: list[str]) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}")
    unit = 1 if sys.platform == "darwin" else 1024
    return time.perf_counter() - start, usage.ru_maxrss * unit


def main() -> None:
    """Make, compress, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=6)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--ratio", type=float, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    nbytes = int(arguments.gib * (1 << 30))
    folder = Path(tempfile.mkdtemp(prefix="wpack-compress-"))
    try:
        largest = make_checkpoint(folder, nbytes, arguments.shards)
        output = folder / "out.wpool"
        seconds, peak = measure(
            [
                *(sys.executable, "-m", "wpack", "compress", str(folder)),
                *("--ratio", str(arguments.ratio), "-o", str(output)),
            ]
        )
        written = output.stat().st_size
    finally:
        shutil.rmtree(folder)
    sums = int(nbytes / 2 / arguments.ratio) * 4
    bar = sums + largest + 400 * MIB
    result = {
        "command": " ".join(["python", *sys.argv]),
        "checkpoint_bytes": nbytes,
        "shards": arguments.shards,
        "ratio": arguments.ratio,
        "file_bytes": written,
        "seconds": round(seconds, 1),
        "peak_bytes": peak,
        "pool_sums_bytes": sums,
        "largest_tensor_bytes": largest,
        "bar_bytes": bar,
        "holds": peak < bar,
    }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
