"""What it costs to make working weights: every technique on ResNet-50's kernels.

    python benchmarks/decompression.py
    python benchmarks/decompression.py --ratio 4 --repeats 9

Each technique makes the 52 kernels inside ResNet-50's blocks (the paper's working set)
of float32 backing weights at the same N_h, in torch, one tensor after the other, as a
tied training step or a load does; each tensor is let go before the next is made.
Beside it, in turn with it, a copy of the same tensors (``clone`` of each, made and let
go likewise), and one ``index_select`` of the same lengths at random places of ranges as
long as a tensor's share.  What is compared are times of the same turn, so that what
slows the machine slows both; of all turns stand the medians, and the quartiles.

``first_seconds`` is the first call, which has indices and permutations to make; the
others find them remembered.  GB/s are bytes of working weights made; ``moved_bytes``
counts what must be read and written for them at the least: backing weights and indices
once, working weights once.  For a copy these are twice its bytes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import torch

from wpack import techniques
from wpack.table import Block, SliceTable
from wpack.techniques import Technique

RESULTS = Path(__file__).parent / "results" / "decompression.json"
VARIANTS: dict[str, dict[str, Any]] = {name: {} for name in techniques.names()}
if "outer" in VARIANTS:
    VARIANTS["outer, permute"] = {"permute": True}
if "layered" in VARIANTS:
    VARIANTS["layered, m = 2"] = {"m": 2}


def blocks() -> list[Block]:
    """Kernels inside ResNet-50's blocks, projection shortcuts included."""
    shapes: list[tuple[int, ...]] = []
    inputs = 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for index in range(count):
            shapes += [(width, inputs, 1, 1), (width, width, 3, 3)]
            shapes.append((4 * width, width, 1, 1))
            if index == 0:
                shapes.append((4 * width, inputs, 1, 1))
            inputs = 4 * width
    return [Block(f"kernel{i}", s, 0, prod(s), "") for i, s in enumerate(shapes)]


def asked(name: str, ratio: float) -> float:
    """The ratio to ask for so as to get ``ratio``: N1 of an outer product is a whole
    number and rounded up, so that asked for 2 it makes 3."""
    return 0.95 * ratio if name.startswith("outer") else ratio


def seconds(call: Callable[[], object]) -> float:
    """Of one call, after what is queued on the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    begin = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def expand(technique: Technique, table: SliceTable, pool: torch.Tensor) -> None:
    """Make every tensor, and let it go."""
    for piece in table.slices:
        reads = [pool[start : start + n] for start, _, n in table.pieces(piece)]
        read = reads[0] if len(reads) == 1 else torch.cat(reads)
        technique.expand(torch, table, piece, read)


def copy(weights: list[torch.Tensor]) -> None:
    """Copy every tensor, and let it go."""
    for weight in weights:
        weight.clone()


def select(pool: torch.Tensor, orders: list[torch.Tensor]) -> None:
    """Read every tensor through an index, and let it go."""
    for order in orders:
        torch.index_select(pool, 0, order)


def measure(name: str, ratio: float, repeats: int, device: str) -> dict[str, Any]:
    """One technique's row."""
    technique = techniques.named(name.partition(",")[0])(**VARIANTS[name])
    made = blocks()
    working = sum(block.numel for block in made)
    table = technique.layout(made, int(working / asked(name, ratio)))
    pool = torch.randn(table.backing, device=device)
    weights = [torch.randn(block.numel, device=device) for block in made]
    orders = [
        torch.randint(-int(-b.numel // ratio), (b.numel,), device=device).int()
        for b in made
    ]
    arms: dict[str, Callable[[], object]] = {
        "expand": lambda: expand(technique, table, pool),
        "copy": lambda: copy(weights),
        "index_select": lambda: select(pool, orders),
    }
    first = seconds(arms["expand"])
    times: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(repeats):
        for arm, call in arms.items():
            times[arm].append(seconds(call))
    return {
        "technique": name,
        "working": working,
        "backing": table.backing,
        "ratio": working / table.backing,
        "first_seconds": first,
        "seconds": statistics.median(times["expand"]),
        "gigabytes_per_second": working * 4 / statistics.median(times["expand"]) / 1e9,
        "made_bytes": 4 * working,
        "moved_bytes": 4 * (working + table.backing + technique.random_accesses(table)),
        **against("copy", times),
        **against("index_select", times),
    }


def against(arm: str, times: dict[str, list[float]]) -> dict[str, Any]:
    """How many times an arm's time an expansion takes, turn by turn."""
    pairs = zip(times["expand"], times[arm], strict=True)
    low, middle, high = statistics.quantiles((a / b for a, b in pairs), n=4)
    article = "an" if arm[0] in "aeiou" else "a"
    return {
        f"{arm}_seconds": statistics.median(times[arm]),
        f"times_{article}_{arm}": middle,
        f"times_{article}_{arm}_quartiles": [low, high],
    }


def keep_heap() -> None:
    """Have the C library keep memory once it has it, as torch's own allocator does on
    a GPU: page by page from the system it costs more than most techniques."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
        library.mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def processor() -> str:
    """The name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ratio", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    keep_heap()
    rows = []
    with torch.no_grad():
        for name in VARIANTS:
            row = measure(name, arguments.ratio, arguments.repeats, arguments.device)
            rows.append(row)
            print(
                f"{name:16} {row['seconds'] * 1e3:9.2f} ms"
                f" {row['gigabytes_per_second']:8.2f} GB/s"
                f" {row['times_a_copy']:7.2f} × copy"
                f" {row['times_an_index_select']:6.2f} × index_select"
                f"   first {row['first_seconds']:6.2f} s",
                flush=True,
            )
    report = {
        "ratio": arguments.ratio,
        "repeats": arguments.repeats,
        "device": arguments.device,
        "threads": torch.get_num_threads(),
        "cpu": processor(),
        "machine": f"{platform.machine()}, {platform.system()}",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "command": shlex.join(["python", *sys.argv]),
        "rows": rows,
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
