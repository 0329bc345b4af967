"""What loading a `.wpool` costs: time to open, memory to use, the same bits.

    python benchmarks/load.py
    python benchmarks/load.py --biases
    python benchmarks/load.py --blocks 6 --width 510 --pairs 21 -o /tmp/load.json

A transformer's 84 matrices, 1 GiB of float32 working weights, read one 256 MiB pool;
its norms (and biases) are kept.  Beside it lies what `wpack inflate` makes of the file.

- *Open*: open the file and take every tensor, against `safetensors.safe_open` of the
  inflated one; pairs alternate in one process, the figure is the median of each.
- *Memory*: what a fresh process grows by (PSS) when it touches every weight.
- *Bits*: every tensor of every backend equals the inflated one's.

The file's pages are in the page cache; reading them in costs the stored bytes once.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
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
import torch
from safetensors import safe_open
from torch import Tensor

from wpack import api, container
from wpack.backends import BACKENDS
from wpack.loader import load_file
from wpack.loader import open as open_pool_file
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.tensors import FLOAT32, TensorInfo, blocks

RESULTS = Path(__file__).parent / "results" / "load.json"
SPEC = """
version: 1
pools:
  all: {technique: global, tensors: ["*_proj.weight"], ratio: 3.99}
"""
MIB = 1 << 20
#: PSS may grow to this many times the stored bytes, and 4 MiB.
BAR = 1.05, 4 * MIB


def infos(number: int, width: int, biases: bool = False) -> list[TensorInfo]:
    """A transformer's tensors: seven matrices and two norms a block, as Llama has
    them, and a bias for each matrix where that is asked for."""
    hidden = width * 8 // 3
    shapes = {
        **dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), (width, width)),
        **dict.fromkeys(("gate_proj", "up_proj"), (hidden, width)),
        "down_proj": (width, hidden),
    }
    found = []
    for block in range(number):
        for name, shape in shapes.items():
            prefix = f"layers.{block}.{name}"
            found.append(TensorInfo(f"{prefix}.weight", FLOAT32, shape))
            if biases:
                found.append(TensorInfo(f"{prefix}.bias", FLOAT32, shape[:1]))
        for norm in ("input_norm", "post_norm"):
            name = f"layers.{block}.{norm}.weight"
            found.append(TensorInfo(name, FLOAT32, (width,)))
    return found


def make_files(folder: Path, tensors: list[TensorInfo]) -> tuple[Path, Path]:
    """The `.wpool` of random weights and its inflated twin."""
    plan = make_plan(parse(SPEC), tensors).plan
    random = np.random.default_rng(0)
    stored = (
        (
            entry.name,
            (
                random.standard_normal(end - begin, "<f4")
                for begin, end in blocks(entry.numel)
            ),
        )
        for entry in container.arrange(plan).stored
    )
    pool, inflated = folder / "model.wpool", folder / "model.safetensors"
    container.write(pool, plan, SPEC, container.Source("0" * 64, 0), stored)
    api.inflate(pool, inflated)
    return pool, inflated


def take_plain(path: Path) -> dict[str, Tensor]:
    """Every tensor of a `.safetensors`, by its own library."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def open_times(pool: Path, inflated: Path, pairs: int) -> dict[str, Any]:
    """Median seconds to open and take every tensor, arms alternating."""
    arms: dict[str, Callable[[], object]] = {
        "wpack": lambda: load_file(pool, backend="mmap"),
        "safetensors": lambda: take_plain(inflated),
    }
    taken: dict[str, list[float]] = {which: [] for which in arms}
    for pair in range(-3, pairs):
        for which in sorted(arms, reverse=bool(pair % 2)):
            begin = time.perf_counter()
            tensors = arms[which]()
            seconds = time.perf_counter() - begin
            del tensors
            if pair >= 0:  # the first three only warm up
                taken[which].append(seconds)
    ratios = [a / b for a, b in zip(taken["wpack"], taken["safetensors"], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "pairs": pairs,
        "wpack_seconds": statistics.median(taken["wpack"]),
        "safetensors_seconds": statistics.median(taken["safetensors"]),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
    }


def pss() -> int:
    """Bytes of this process's share of memory: a page counts once, however often it is
    mapped."""
    text = Path("/proc/self/smaps_rollup").read_text()
    found = re.search(r"^Pss: +(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def touch(path: str, how: str) -> None:
    """Load a file, read every weight, print the bytes grown by and the seconds."""
    torch.ones(1000).sum()
    empty, begin = pss(), time.perf_counter()
    file = Path(path)
    tensors = take_plain(file) if how == "safetensors" else load_file(file, backend=how)
    for tensor in tensors.values():
        tensor.sum()
    seconds = time.perf_counter() - begin
    print(json.dumps({"pss_bytes": pss() - empty, "touch_seconds": seconds}))


def memory(pool: Path, inflated: Path) -> dict[str, Any]:
    """PSS after touching every weight, a process a way of loading."""
    found = {}
    for how in (*BACKENDS, "safetensors"):
        path = inflated if how == "safetensors" else pool
        output = subprocess.run(
            [sys.executable, __file__, "--touch", str(path), how],
            check=True,
            capture_output=True,
            text=True,
        )
        found[how] = json.loads(output.stdout)
    return found


def same_bits(pool: Path, inflated: Path) -> dict[str, Any]:
    """Whether each backend gives the inflated file's bits, and what it copied."""
    plain = take_plain(inflated)
    found = {}
    for backend in BACKENDS:
        with open_pool_file(pool, backend=backend) as file:
            equal = all(
                torch.equal(file.get_tensor(n).view(torch.int32), t.view(torch.int32))
                for n, t in plain.items()
            )
            names = set(file) == set(plain)
            found[backend] = {
                "equal_bits": equal and names,
                "copied_bytes": file.copied_nbytes,
            }
    return found


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return {
        "cpu": names[0] if names else platform.processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole result."""
    tensors = infos(options.blocks, options.width, options.biases)
    pool, inflated = make_files(folder, tensors)
    with container.read(pool) as file:
        plan = file.plan
    stored = pool.stat().st_size
    used = memory(pool, inflated)
    bits = same_bits(pool, inflated)
    times = open_times(pool, inflated, options.pairs)
    bar = BAR[0] * stored + BAR[1]
    return {
        "case": "with biases" if options.biases else "without biases",
        "tensors": len(plan.tensors),
        "pool_bytes": sum(p.nbytes for p in plan.pools),
        "working_bytes": plan.inflated_bytes,
        "stored_bytes": stored,
        "open": times,
        "backends": {b: {**used[b], **bits[b]} for b in BACKENDS},
        "inflated": used["safetensors"],
        "pss_bar_bytes": round(bar),
        "holds": {
            "opening": times["wpack_seconds"] <= times["safetensors_seconds"],
            "memory": all(used[b]["pss_bytes"] <= bar for b in ("mmap", "memfd")),
            "nothing copied": not any(
                bits[b]["copied_bytes"] for b in ("mmap", "memfd")
            ),
            "equal bits": all(b["equal_bits"] for b in bits.values()),
        },
        "command": shlex.join(["python", *sys.argv]),
        "machine": machine(),
    }


def show(result: dict[str, Any]) -> None:
    """The result as a table."""
    stored, working = result["stored_bytes"], result["working_bytes"]
    times = result["open"]
    print(
        f"{result['tensors']} tensors, {working / MIB:.0f} MiB of weights in"
        f" {stored / MIB:.0f} MiB\n\n"
        f"{'':12}{'PSS MiB':>9}{'of stored':>11}{'touch s':>9}{'copied MiB':>12}  bits"
    )
    for name, row in (*result["backends"].items(), ("inflated", result["inflated"])):
        bits = {True: "equal", False: "DIFFER", None: ""}[row.get("equal_bits")]
        print(
            f"{name:12}{row['pss_bytes'] / MIB:9.1f}{row['pss_bytes'] / stored:11.3f}"
            f"{row['touch_seconds']:9.2f}{row.get('copied_bytes', 0) / MIB:12.1f}"
            f"  {bits}"
        )
    print(
        f"\nopen, take all: wpack {1000 * times['wpack_seconds']:.2f} ms, safetensors"
        f" {1000 * times['safetensors_seconds']:.2f} ms, ratio {times['ratio']:.2f}"
        f" (medians of {times['pairs']} pairs)"
    )
    for what, holds in result["holds"].items():
        print(f"{what}: {'holds' if holds else 'MISSED'}")


def record(result: dict[str, Any], path: Path) -> None:
    """Put a result in the place of the one of the same case."""
    results = json.loads(path.read_text()) if path.exists() else []
    others = [r for r in results if r["case"] != result["case"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*others, result], indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--width", type=int, default=1365)
    parser.add_argument("--biases", action="store_true", help="more small tensors")
    parser.add_argument("--pairs", type=int, default=51)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--touch", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.touch:
        touch(*options.touch)
        return
    with tempfile.TemporaryDirectory(prefix="wpack-load-") as folder:
        result = measure(options, Path(folder))
    show(result)
    record(result, options.output)


if __name__ == "__main__":
    main()
