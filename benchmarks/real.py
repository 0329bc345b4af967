"""Every technique on real checkpoints, through the command line, in real processes.

See :mod:`benchmarks.techniques`, whose ``--real FOLDER`` runs this.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.decompression import VARIANTS
from wpack.errors import WpackError

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """A checkpoint and how it is compressed and judged.

    Attributes:
        file: The checkpoint, in the folder ``models`` of the data.
        spec: From the repository's folder; its one pool is ``blocks``.
        task: What ``wpack eval`` measures.
        metric: Of the task's metrics, the one shown.
        ratio: Asked for.
    """

    name: str
    file: str
    spec: str
    task: str
    metric: str
    ratio: float


RESNET = "resnet20-12fca82f.th"
MOBILENET = "mlperftiny-mobilenetv1-0.25-vww96.safetensors"
AGREEMENT = "benchmarks.mobilenet.task:agreement"
CASES = (
    Case(
        "ResNet-20",
        RESNET,
        "benchmarks/cifar10/r20-2.57.yaml",
        "benchmarks.cifar10.task:resnet20_quick",
        "loss",
        2,
    ),
    Case(
        "MobileNetV1-0.25",
        MOBILENET,
        "benchmarks/mobilenet/pools.yaml",
        AGREEMENT,
        "kl",
        2,
    ),
    Case(
        "MobileNetV1-0.25, depthwise kept",
        MOBILENET,
        "benchmarks/mobilenet/pools-8.yaml",
        AGREEMENT,
        "kl",
        8,
    ),
    Case(
        "stories260K",
        "stories260K.safetensors",
        "benchmarks/stories/pools.yaml",
        "benchmarks.stories.task:stories",
        "loss",
        4,
    ),
)


class Failed(WpackError):
    """A command of wpack's did not do what it should."""


def wpack(folder: Path, *arguments: str) -> dict[str, Any]:
    """The JSON document of a command, run in a process of its own.

    Raises:
        Failed: It exits with another code than 0.
    """
    command = [sys.executable, "-m", "wpack", *arguments, "--json"]
    environment = {**os.environ, "WPACK_DATA": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(
            f"exit {done.returncode}: {done.stderr.strip()}",
            where=" ".join(["wpack", *arguments]),
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def cpu_seconds() -> float:
    """What all ended commands took of one core."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def settings(variant: str, ratio: float) -> list[str]:
    """Options that make a spec's pool one of this technique."""
    values = {"technique": variant.partition(",")[0], "ratio": ratio}
    return [
        word
        for key, value in {**values, **VARIANTS[variant]}.items()
        for word in ("--set", f"pools.blocks.{key}={json.dumps(value)}")
    ]


def round_trip(folder: Path, scratch: Path, case: Case, variant: str) -> dict[str, Any]:
    """Plan, compress, verify, inflate, compare and evaluate; one row of the results."""
    source = str(folder / "models" / case.file)
    pooled, plain = str(scratch / "pooled.wpool"), str(scratch / "plain.safetensors")
    spec = ["-s", case.spec, *settings(variant, case.ratio)]
    planned = wpack(folder, "plan", source, *spec)["stats"]
    before = cpu_seconds()
    packed = wpack(folder, "compress", source, *spec, "-o", pooled, "--force")["stats"]
    seconds = cpu_seconds() - before
    (verified,) = wpack(folder, "verify", pooled)["files"]
    wpack(folder, "inflate", pooled, "-o", plain, "--force")
    difference = wpack(folder, "diff", pooled, plain)
    (pool,) = packed["pools"]
    return {
        "checkpoint": case.name,
        "technique": variant,
        "ratio_asked": case.ratio,
        "ratio": pool["ratio"],
        "free_parameters": packed["free_parameters"],
        "bytes_predicted": planned["file_bytes"],
        "bytes": Path(pooled).stat().st_size,
        "compress_cpu_seconds": round(seconds, 2),
        "problems": verified["problems"],
        "differences": len(difference["differing"])
        + len(difference["only_in_a"])
        + len(difference["only_in_b"]),
        "compared": difference["compared"],
        "metric": case.metric,
        "metrics": wpack(folder, "eval", pooled, "--task", case.task)["metrics"],
        "metrics_inflated": wpack(folder, "eval", plain, "--task", case.task)[
            "metrics"
        ],
    }


def sound(row: dict[str, Any]) -> bool:
    """Whether everything that should agree does."""
    return bool(
        row["bytes_predicted"] == row["bytes"]
        and not row["problems"]
        and not row["differences"]
        and row["compared"]
        and row["metrics"] == row["metrics_inflated"]
    )


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The row of each case and technique."""
    with tempfile.TemporaryDirectory() as scratch:
        for case in CASES:
            for variant in VARIANTS:
                yield round_trip(folder, Path(scratch), case, variant)


def originals(folder: Path) -> dict[str, dict[str, Any]]:
    """Checkpoint → what it costs and scores as published."""
    found = {}
    for case in CASES:
        source = str(folder / "models" / case.file)
        (stats,) = wpack(folder, "stats", source)["files"]
        found[case.name] = {
            "free_parameters": stats["free_parameters"],
            "bytes": stats["file_bytes"],
            "metrics": wpack(folder, "eval", source, "--task", case.task)["metrics"],
        }
    return found


def line(row: dict[str, Any]) -> str:
    """A row as text."""
    first, second = (row[k][row["metric"]] for k in ("metrics", "metrics_inflated"))
    agree = "=" if row["metrics"] == row["metrics_inflated"] else "≠"
    size = f"{row['bytes']:,}"
    return (
        f"{row['checkpoint']:33.33} {row['technique']:15}"
        f" {row['ratio_asked']:3g} → {row['ratio']:5.2f}"
        f" {row['free_parameters']:>8,} {row['bytes_predicted']:>8,}"
        f" {'=' if row['bytes_predicted'] == row['bytes'] else '≠'} {size:>8}"
        f"  verify {'ok' if not row['problems'] else row['problems']}"
        f"  differences {row['differences']} of {row['compared']}"
        f"  {row['metric']} {first:.6f} {agree} {second:.6f}"
        f"  {row['compress_cpu_seconds']:5.2f} s"
    )


def run(folder: Path, output: Path) -> bool:
    """Print a line for each row, write the results, and say whether all is sound."""
    before = originals(folder)
    for name, original in before.items():
        print(f"{name}: {json.dumps(original)}", flush=True)
    found = []
    for row in rows(folder):
        found.append(row)
        print(line(row), flush=True)
    report = {
        "command": "python -m benchmarks.techniques --real DATA_FOLDER",
        "machine": f"{platform.machine()}, {platform.system()}",
        "originals": before,
        "rows": found,
    }
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    wrong = [row for row in found if not sound(row)]
    print(f"{len(found)} round trips, {len(wrong)} of them wrong")
    return not wrong
