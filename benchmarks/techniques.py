"""Every technique side by side: accuracy, counts, speed; and on real checkpoints.

    python -m benchmarks.techniques --write            # trains what is missing yet
    python -m benchmarks.techniques --write --seeds 3
    python -m benchmarks.techniques --real DATA_FOLDER # about ten minutes on one core

The first two fine-tune both networks of ``samples/digits`` from their checkpoints, by
the samples' own recipes, with every technique at ratio 2 and 4; keep each run in
``benchmarks/results/techniques.json``; and rewrite the tables of ``docs/techniques.md``
from that file, from the counts that wpack itself gives (the paper's Table I) and from
``benchmarks/results/decompression.json``.  A run that is in the file is not made again:
remove the file to begin anew.  A technique that has no run yet gets one, so a new file
in ``wpack/techniques`` enters the tables by running this.

The last takes real checkpoints through ``plan``, ``compress``, ``verify``, ``inflate``,
``diff`` and ``eval`` and fails unless all agree, to the last bit and digit.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks import real
from benchmarks.decompression import VARIANTS, asked, blocks
from wpack import api, techniques
from wpack.errors import UsageError
from wpack.events import Finished
from wpack.spec import load

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "techniques.md"
RESULTS = ROOT / "benchmarks" / "results"
DIGITS = ROOT / "samples" / "digits"
SAMPLES = {"vit": "ViT", "resnet": "ResNet"}
RATIOS = (2, 4)
#: The tables stand between these two lines.
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"

#: Of a line of text.
WIDTH = 118

Run = dict[str, Any]


def overrides(sample: str, variant: str, ratio: float, seed: int) -> list[str]:
    """What turns the sample's spec into one of this technique and seed."""
    values = {"technique": variant.partition(",")[0], "ratio": asked(variant, ratio)}
    return [f"finetune.seed={seed}"] + [
        f"pools.{pool}.{key}={json.dumps(value)}"
        for pool in load(DIGITS / f"{sample}.yaml").pools
        for key, value in {**values, **VARIANTS[variant]}.items()
    ]


def made(variant: str) -> techniques.Technique:
    """The technique of a variant."""
    return techniques.named(variant.partition(",")[0])(**VARIANTS[variant])


def train(sample: str, variant: str, ratio: float, seed: int) -> Run:
    """Fine-tune a sample, and what came of it."""
    spec = load(DIGITS / f"{sample}.yaml", overrides(sample, variant, ratio, seed))
    begin = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "tuned.wpool"
        *_, last = api.finetune(DIGITS / f"{sample}.safetensors", spec, output)
        stats = api.stats(output)
    if not isinstance(last, Finished):
        raise TypeError(f"the last event is {last}")
    working = sum(pool.working for pool in stats.pools)
    return {
        "sample": sample,
        "technique": variant,
        "ratio_asked": ratio,
        "ratio": working / stats.backing_parameters,
        "seed": seed,
        "free_parameters": stats.free_parameters,
        "file_bytes": stats.file_bytes,
        "projected_accuracy": last.before["test"]["accuracy"],
        "accuracy": last.after["test"]["accuracy"],
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def wanted(seeds: int) -> Iterator[tuple[str, str, float, int]]:
    """Every run there should be, whole seeds first."""
    for seed in range(seeds):
        for sample in SAMPLES:
            for variant in VARIANTS:
                for ratio in RATIOS:
                    yield sample, variant, ratio, seed


def train_missing(seeds: int, path: Path) -> list[Run]:
    """All runs, those that the file lacks made and put into it one by one."""
    found = json.loads(path.read_text())["runs"] if path.exists() else []
    keys = ("sample", "technique", "ratio_asked", "seed")
    done = {tuple(run[key] for key in keys) for run in found}
    for key in wanted(seeds):
        if key not in done:
            found.append(train(*key))
            print(json.dumps(found[-1]), flush=True)
            report = {
                "command": f"python -m benchmarks.techniques --write --seeds {seeds}",
                "machine": f"{platform.machine()}, {platform.system()}",
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
                "runs": found,
            }
            path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return found


def original(sample: str) -> str:
    """Accuracy and parameters of the untied checkpoint."""
    path = DIGITS / f"{sample}.safetensors"
    metrics = api.evaluate(path, f"samples.digits.task:{sample}", device="cpu")
    parameters = api.stats(path).free_parameters
    return f"{SAMPLES[sample]} {100 * metrics['accuracy']:.2f} %, {parameters:,}"


def costs(variant: str, measured: dict[str, Any]) -> list[str]:
    """Cells: view, multiplications, random accesses, speed of decompression."""
    technique, kernels = made(variant), blocks()
    working = sum(block.numel for block in kernels)
    ratio = asked(variant, measured["ratio"])
    table = technique.layout(kernels, int(working / ratio))
    (row,) = (r for r in measured["rows"] if r["technique"] == variant)
    return [
        "yes" if technique.zero_copy else "no",
        f"{technique.multiplications(table) / working:,.4g}",
        f"{technique.random_accesses(table) / working:,.4g}",
        f"{row['gigabytes_per_second']:,.2f}",
        f"{row['times_a_copy']:.2f}",
    ]


def accuracies(variant: str, runs: list[Run]) -> list[str]:
    """Cells: accuracy in percent, for each sample and ratio; ± one standard deviation
    where there are seeds to tell it."""
    cells = []
    for sample in SAMPLES:
        for ratio in RATIOS:
            values = [100 * r["accuracy"] for r in of(runs, sample, variant, ratio)]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
    return cells


def sizes(variant: str, runs: list[Run]) -> list[str]:
    """Cells: free parameters of the whole network, for each sample and ratio."""
    return [
        f"{of(runs, sample, variant, ratio)[0]['free_parameters']:,}"
        for sample in SAMPLES
        for ratio in RATIOS
    ]


def of(runs: list[Run], sample: str, variant: str, ratio: float) -> list[Run]:
    """The runs of one cell."""
    key = (sample, variant, ratio)
    return [r for r in runs if (r["sample"], r["technique"], r["ratio_asked"]) == key]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def section(runs: list[Run], measured: dict[str, Any]) -> str:
    """What stands between the two lines of the document."""
    seeds = len({run["seed"] for run in runs})
    counted = (
        "one seed" if seeds == 1 else f"mean ± standard deviation of {seeds} seeds"
    )
    columns = [f"{name}, {ratio}" for name in SAMPLES.values() for ratio in RATIOS]
    cost = ["view", "multiplications", "random accesses", "GB/s", "times a copy"]
    tables = (
        markdown(
            ["technique", *columns],
            [[f"`{v}`", *accuracies(v, runs)] for v in sorted(VARIANTS)],
        ),
        markdown(
            ["technique", *columns],
            [[f"`{v}`", *sizes(v, runs)] for v in sorted(VARIANTS)],
        ),
        markdown(
            ["technique", *cost],
            [[f"`{v}`", *costs(v, measured)] for v in sorted(VARIANTS)],
        ),
    )
    texts = (
        f"Test accuracy in percent of the networks of `samples/digits`, fine-tuned by"
        f" their own recipes at ratio {' and '.join(map(str, RATIOS))} ({counted}; 400"
        f" images, so one is 0.25). Untied: {'; '.join(map(original, SAMPLES))}"
        f" parameters.",
        "Free parameters of these networks, kept ones included:",
        f"What decompression costs for the kernels of ResNet-50's blocks at ratio"
        f" {measured['ratio']:g}, a working weight: multiplications and random accesses"
        f" counted, as in the paper's Table I, and time measured in"
        f" {measured['threads']} threads on {measured['device']} ({measured['cpu']})"
        f" (`python benchmarks/decompression.py`).",
    )
    parts = zip((textwrap.fill(text, WIDTH) for text in texts), tables, strict=True)
    return "\n\n".join(part for pair in parts for part in pair)


def rewrite(document: str, measured: str) -> str:
    """The document with other tables."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise UsageError(f"lacks the lines {BEGIN} and {END}", where=DOCUMENT)
    return f"{before}{begin}\n\n{measured}\n\n{end}{after}"


def write(seeds: int) -> None:
    """Train what is missing and rewrite the document."""
    torch.set_num_threads(1)
    path = RESULTS / "decompression.json"
    if not path.exists():
        raise UsageError(
            "there is no such file",
            where=path,
            hint="Run python benchmarks/decompression.py first",
        )
    runs = train_missing(seeds, RESULTS / "techniques.json")
    text = section(runs, json.loads(path.read_text()))
    DOCUMENT.write_text(rewrite(DOCUMENT.read_text("utf-8"), text), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--write", action="store_true")
    what.add_argument("--real", type=Path, metavar="DATA_FOLDER")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    if options.real is not None:
        folder = options.real.resolve()
        sys.exit(not real.run(folder, RESULTS / "techniques_real.json"))
    write(options.seeds)


if __name__ == "__main__":
    main()
