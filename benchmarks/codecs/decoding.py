"""What it costs to decode a coded pool, beside a copy of what is decoded.

    python -m benchmarks.codecs.decoding
    python -m benchmarks.codecs.decoding --weights 10M --chain int4 --json /tmp/d.json

Normal weights are encoded, written to a file, and decoded from there as loading does,
on one core: stored bytes are read with ``pread`` (from the page cache), values are put
into memory that is there already, for pages from the system are paid by any way of
loading.  In turn with it, ``np.copyto`` of as many float32 values.  What is compared
are times of the same turn; of all turns stand the medians, and the quartiles.  Seconds
are the process's own (of CPU): other work on the machine does not count, though it
slows caches and memory for both; ``wall_seconds`` is the clock's.

Memory is what a fresh process grows by at its peak when it decodes the file, pages of
the values included; ``memory_over_bytes`` is what of it is not the values.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from benchmarks.codecs.arms import written
from wpack.chain import Chain
from wpack.tensors import FLOAT32

RESULTS = Path(__file__).parents[1] / "results" / "codec_decoding.json"
#: Label → codecs: a name, and the value of its first field.
CHAINS: dict[str, list[tuple[str, Any]]] = {
    "int8": [("int", 8)],
    "int8+zstd": [("int", 8), ("zstd", None)],
    "int4": [("int", 4)],
    "int4+zstd": [("int", 4), ("zstd", None)],
    "kmeans5": [("kmeans", 5)],
    "kmeans5+zstd": [("kmeans", 5), ("zstd", None)],
    "pow2": [("pow2", 4)],
    "ternary": [("ternary", None)],
    "binary": [("binary", None)],
    "bfloat16": [("bfloat16", None)],
    "zstd": [("zstd", None)],
    "prune+int8": [("prune", 0.9), ("int", 8)],
    "prune+int4+zstd": [("prune", 0.9), ("int", 4), ("zstd", None)],
    "prune+kmeans5+zstd": [("prune", 0.9), ("kmeans", 5), ("zstd", None)],
}
#: What is promised: bytes a second, stored or decoded.
BARS = {"int8+zstd": ("stored", 400e6), "int4": ("decoded", 2e9)}
_SUFFIXES = {"K": 10**3, "M": 10**6, "G": 10**9}


def chain_of(label: str) -> Chain:
    """The chain that a label stands for."""
    return written({name: value} for name, value in CHAINS[label])


def decode(path: Path, chain: Chain, out: np.ndarray) -> None:
    """As loading does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:

        def read(begin: int, end: int) -> np.ndarray:
            return np.frombuffer(os.pread(descriptor, end - begin, begin), "u1")

        nbytes = os.fstat(descriptor).st_size
        chain.decode(read, nbytes, FLOAT32, out, str(path))
    finally:
        os.close(descriptor)


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(label: str, weights: np.ndarray, path: Path, turns: int) -> dict[str, Any]:
    """One chain's row."""
    chain = chain_of(label)
    encoded = chain.encode(weights, FLOAT32)
    encoded.data.tofile(path)
    encode_seconds = seconds(lambda: chain.encode(weights[: 1 << 22], FLOAT32))[0]
    out = np.zeros_like(weights)
    arms: dict[str, Callable[[], object]] = {
        "decode": lambda: decode(path, chain, out),
        "copy": lambda: np.copyto(out, weights),
    }
    times: dict[str, list[tuple[float, float]]] = {arm: [] for arm in arms}
    for _ in range(turns):
        for arm, call in arms.items():
            times[arm].append(seconds(call))
    cpu = {arm: statistics.median(t[0] for t in times[arm]) for arm in arms}
    pairs = zip(times["decode"], times["copy"], strict=True)
    low, middle, high = statistics.quantiles((a[0] / b[0] for a, b in pairs), n=4)
    stored, decoded = len(encoded.data), out.nbytes
    row = {
        "chain": label,
        "codecs": chain.to_json(),
        "stored_bytes": stored,
        "decoded_bytes": decoded,
        "bits_per_weight": 8 * stored / len(out),
        "encode_seconds_per_4M": encode_seconds,
        "seconds": cpu["decode"],
        "wall_seconds": statistics.median(t[1] for t in times["decode"]),
        "stored_bytes_per_second": stored / cpu["decode"],
        "decoded_bytes_per_second": decoded / cpu["decode"],
        "copy_bytes_per_second": decoded / cpu["copy"],
        "times_a_copy": middle,
        "times_a_copy_quartiles": [low, high],
    }
    return {**row, **memory(label, path, decoded), **held(label, row)}


def held(label: str, row: dict[str, Any]) -> dict[str, bool]:
    """Whether the chain is as fast as was promised, where anything was."""
    if label not in BARS:
        return {}
    of, bar = BARS[label]
    return {"holds": row[f"{of}_bytes_per_second"] >= bar}


def memory(label: str, path: Path, decoded: int) -> dict[str, int]:
    """What a fresh process grows by when it decodes."""
    command = [sys.executable, "-m", "benchmarks.codecs.decoding"]
    command += ["--grow", label, str(path), str(decoded // 4)]
    grown = int(subprocess.check_output(command, text=True))
    return {"memory_bytes": grown, "memory_over_bytes": grown - decoded}


def grow(label: str, path: str, numel: str) -> int:
    """Bytes of resident memory at the peak of decoding, less those before."""
    chain, out = chain_of(label), np.empty(int(numel), "<f4")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    before = _resident("VmRSS")
    decode(Path(path), chain, out)
    return _resident("VmHWM") - before


def _resident(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(key))
    return 1024 * int(line.split()[1])


def number(text: str) -> int:
    """``100M`` → 100 000 000."""
    return int(text.rstrip("KMG")) * _SUFFIXES.get(text[-1], 1)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return {
        "cpu": names[0] if names else platform.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "zstd": ".".join(map(str, zstandard.ZSTD_VERSION)),
    }


def record(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Put rows in the place of those of the same chains."""
    path: Path = options.json
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    made = {row["chain"]: row for row in (*before, *rows)}
    report = {
        "weights": options.weights,
        "turns": options.turns,
        "command": shlex.join(["python", "-m", "benchmarks.codecs.decoding"]),
        "machine": machine(),
        "rows": [made[label] for label in CHAINS if label in made],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=number, default=number("100M"))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--chain", action="append", choices=list(CHAINS))
    parser.add_argument("--json", type=Path, default=RESULTS)
    parser.add_argument("--grow", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.grow:
        print(grow(*options.grow))
        return
    weights = np.random.default_rng(0).standard_normal(options.weights, "<f4")
    weights *= np.float32(0.05)
    with tempfile.TemporaryDirectory(prefix="wpack-decoding-") as folder:
        for label in options.chain or CHAINS:
            row = measure(label, weights, Path(folder, "pool"), options.turns)
            record([row], options)
            print(
                f"{label:20}{row['bits_per_weight']:7.3f} bits"
                f"{row['stored_bytes_per_second'] / 1e6:8.0f} MB/s stored"
                f"{row['decoded_bytes_per_second'] / 1e9:7.2f} GB/s decoded"
                f"{row['times_a_copy']:7.2f} × copy"
                f"{row['memory_over_bytes'] / 2**20:7.1f} MiB beside the values"
                f"  {({True: 'holds', False: 'MISSED'}).get(row.get('holds'), '')}",
                flush=True,
            )


if __name__ == "__main__":
    main()
