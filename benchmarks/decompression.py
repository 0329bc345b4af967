"""What it costs to make working weights: every technique on ResNet-50's kernels.

    python benchmarks/decompression.py
    python benchmarks/decompression.py --ratio 4 --repeats 9

Each technique gets the same pool of float32 backing weights for the 52 kernels inside
ResNet-50's blocks (the paper's working set) at the same N_h, and expands all of them
in torch, one tensor after the other, as a tied training step or a load does.  Beside
each stands a copy of the same bytes, taken in turn with it, and for techniques that
read through an index one ``index_select`` of the same length at random places of
ranges as long as a tensor's share.  ``first`` is the first
call, which has indices and permutations to make; the others find them remembered.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
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
VARIANTS: dict[str, dict[str, Any]] = {
    **{name: {} for name in techniques.names()},
    "outer, permute": {"permute": True},
    "layered, m = 2": {"m": 2},
}


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
    table = technique.layout(made, int(working / ratio))
    pool = torch.randn(table.backing, device=device)
    weights = [torch.randn(block.numel, device=device) for block in made]
    orders = [
        torch.randint(s.length, (s.numel,), device=device, dtype=torch.int32)
        for s in techniques.named("hashed")().layout(made, table.backing).slices
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
    medians = {arm: statistics.median(taken) for arm, taken in times.items()}
    return {
        "technique": name,
        "working": working,
        "backing": table.backing,
        "first_seconds": first,
        "seconds": medians["expand"],
        "gigabytes_per_second": working * 4 / medians["expand"] / 1e9,
        "times_a_copy": medians["expand"] / medians["copy"],
        "times_an_index_select": medians["expand"] / medians["index_select"],
        "copy_seconds": medians["copy"],
    }


def main() -> None:
    """Measure, print a table, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ratio", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
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
        "machine": f"{platform.machine()}, {platform.system()}",
        "torch": torch.__version__,
        "rows": rows,
    }
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
