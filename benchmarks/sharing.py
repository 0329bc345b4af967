"""What sharing costs a network: one pool, split pools, and nothing shared.

Every arm is one ``wpack finetune`` from the same checkpoint, which was trained untied,
on the same batches in the same order.  *untied* shares nothing and learns from labels:
it is what the same budget gives the network itself, which has no teacher but itself.
The others have ties that fade in, and the checkpoint as their teacher.  *one pool* has
all matrices of the blocks in one ring; *split pools* has a ring each for queries, keys,
values, attention outputs and the two matrices of the MLPs, as the paper's Table II.
Ratios are those of the pools.  With the first seed each arm chooses its learning rate
out of the same few, on the validation split; the other seeds have that one.
*Projected* is what ``wpack compress`` gives, without any training.  With ``--labels``
all arms learn as the untied one does.

A run's record goes into a folder as soon as it ends; one that was stopped goes on where
it was, and one that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.figure4 import machine
from benchmarks.trials import Arm, Record, Study, overrides, shown, tuned
from wpack import api, durable
from wpack.spec import load

RATIOS = (1.25, 2.0)
UNTIED = "untied"
#: What the specs say of tied networks, and is nothing to an untied one.
FROM_LABELS = {"finetune.distill": None, "finetune.gradual": 0.0}
#: Kind of arm → its spec in the subject's folder, and its colour in the figure.
KINDS = {
    "one pool": ("one.yaml", "#0072b2"),
    "split pools": ("split.yaml", "#d55e00"),
}

Point = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """The network that is shared.

    Attributes:
        module: Whose command this is.
        about: Its docstring.
        folder: Of the specs of :data:`KINDS`.
        name: Of the data, for the figure.
        metric: ``loss`` or ``accuracy``: what chooses and is drawn.
        unit: Of it, for the figure.
        rates: The learning rates that every arm chooses from.
    """

    module: str
    about: str
    folder: Path
    name: str
    metric: str
    unit: str
    rates: tuple[float, ...]

    def arm(self, kind: str, ratio: float) -> Arm:
        """All pools of a kind's spec at one ratio."""
        pools = load(self.spec(kind)).pools
        settings: dict[str, Any] = {f"pools.{name}.ratio": ratio for name in pools}
        if ratio == 1:
            return Arm(UNTIED, settings | FROM_LABELS)
        return Arm(f"{kind} {ratio:g}", settings)

    def arms(self, kind: str, ratios: Sequence[float] = RATIOS) -> list[Arm]:
        """The arms of a kind; the untied network is among those of the first."""
        first = [1.0] if kind == next(iter(KINDS)) else []
        return [self.arm(kind, ratio) for ratio in (*first, *ratios)]

    def spec(self, kind: str) -> Path:
        """The file of a kind's spec."""
        return self.folder / KINDS[kind][0]

    def shown(self, value: float) -> str:
        """A value of the metric."""
        return f"{value:.2%}" if self.metric == "accuracy" else f"{value:.4f}"


def projected(each: Arm, study: Study) -> Record:
    """What an arm's network reaches before it is trained."""
    spec = load(study.spec, overrides(each.settings))
    path = study.folder / f"{each.name.replace(' ', '-')}-projected.wpool"
    api.compress(study.checkpoint, spec, path, force=True)
    batch = study.recipe.eval_batch_size
    metrics = api.evaluate(path, study.task, device="cpu", batch_size=batch)
    return {"arm": each.name, "metrics": metrics}


def compare(subject: Subject, options: argparse.Namespace) -> dict[str, Any]:
    """All runs: the document of the results."""
    records: list[Record] = []
    best: dict[str, float] = {}
    untrained: list[Record] = []
    for kind in KINDS:
        study = Study(
            subject.spec(kind),
            options.checkpoint,
            options.runs,
            _settings(options),
            metric=subject.metric,
        )
        arms = subject.arms(kind, options.ratios)
        found, rates = tuned(arms, options.rates, options.seeds, study, 1)
        records += found
        best |= rates
        untrained += [projected(each, study) for each in arms]
    document = {
        "command": f"python -m {subject.module} {shlex.join(options.shown)}",
        "machine": {**machine("cpu"), "threads": 1},
        "checkpoint_sha256": study.sha256,
        "checkpoint": untrained[0]["metrics"],
        "steps": study.recipe.steps,
        "batch_size": study.recipe.batch_size,
        "ratios": options.ratios,
        "seeds": options.seeds,
        "rates": options.rates,
        "chosen_rates": best,
        "projected": untrained[1:],
        "runs": records,
    }
    return {**document, "points": points(subject, document)}


def points(subject: Subject, document: dict[str, Any]) -> list[Point]:
    """Each arm at its chosen rate: ``arm``, ``rate``, ``free_parameters``, ``nbytes``,
    ``runs``, ``loss`` and ``accuracy`` (test, means over seeds); and of the subject's
    metric the ``deviation`` (over seeds, of the sample; 0 for one), the ``gap``, which
    is the mean difference to the untied network of the same seed, ``gaps``, each of
    them, and what the arm has ``projected``."""
    metric, best = subject.metric, document["chosen_rates"]
    arms = [arm for kind in KINDS for arm in subject.arms(kind, document["ratios"])]
    runs = [run for run in document["runs"] if run["rate"] == best.get(run["arm"])]
    untied = {r["seed"]: r["metrics"][metric] for r in runs if r["arm"] == UNTIED}
    untrained = {r["arm"]: r["metrics"][metric] for r in document["projected"]}
    untrained[UNTIED] = document["checkpoint"][metric]
    made = []
    for name in (arm.name for arm in arms):
        rows = [run for run in runs if run["arm"] == name]
        values = [row["metrics"][metric] for row in rows]
        gaps = [row["metrics"][metric] - untied[row["seed"]] for row in rows]
        made.append(
            {
                "arm": name,
                "rate": best[name],
                "free_parameters": rows[0]["free_parameters"],
                "nbytes": rows[0]["nbytes"],
                "runs": len(rows),
                "loss": statistics.fmean(r["metrics"]["loss"] for r in rows),
                "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
                "accuracy": statistics.fmean(r["metrics"]["accuracy"] for r in rows),
                "gap": statistics.fmean(gaps),
                "gaps": gaps,
                "projected": untrained[name],
            }
        )
    return made


def table(subject: Subject, document: dict[str, Any]) -> str:
    """The points, a row each, as Markdown; the last column is the other metric."""
    metric = subject.metric
    other = "accuracy" if metric == "loss" else "loss"
    lines = [
        f"| arm | free parameters | bytes | projected | {metric} | ± | against untied |"
        f" {other} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for p in document["points"]:
        is_share = metric == "accuracy"
        gap = f"{100 * p['gap']:+.2f} points" if is_share else f"{p['gap']:+.4f}"
        last = f"{p[other]:.2%}" if other == "accuracy" else f"{p[other]:.4f}"
        lines.append(
            f"| {p['arm']} | {p['free_parameters']:,} | {p['nbytes']:,} |"
            f" {subject.shown(p['projected'])} | {subject.shown(p[metric])} |"
            f" {subject.shown(p['deviation'])} | {gap} | {last} |"
        )
    return "\n".join(lines)


def draw(subject: Subject, path: Path) -> Path:
    """Write the figure of a results file beside it.

    Returns:
        The figure, a PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    document = json.loads(path.read_text("utf-8"))
    found = {point["arm"]: point for point in document["points"]}
    metric, untied = subject.metric, found[UNTIED]
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    start = document["checkpoint"][metric]
    axes.axhline(start, color="0.6", linestyle=":", label="checkpoint")
    axes.axhline(untied[metric], color="0.2", linestyle="--", label=UNTIED)
    for kind, (_, colour) in KINDS.items():
        some = [untied, *(p for n, p in found.items() if n.startswith(kind))]
        axes.errorbar(
            [point["free_parameters"] for point in some],
            [point[metric] for point in some],
            [point["deviation"] for point in some],
            color=colour,
            marker="o",
            capsize=3,
            label=kind,
        )
    axes.set_xlabel("free parameters")
    axes.set_ylabel(f"test {metric}{subject.unit}")
    seeds = len(document["seeds"])
    spread = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    title = f"{subject.name}, {document['steps']} steps{spread}"
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=150)
    pyplot.close(figure)
    return path.with_suffix(".png")


def arguments(subject: Subject, words: Sequence[str]) -> argparse.Namespace:
    """What the command was told."""
    parser = argparse.ArgumentParser(
        description=subject.about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the untied")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--runs", type=Path, help="their folder  [beside OUT]")
    parser.add_argument("--seeds", type=_numbers(int), default=[0, 1, 2])
    parser.add_argument("--ratios", type=_numbers(float), default=list(RATIOS))
    parser.add_argument("--rates", type=_numbers(float), default=list(subject.rates))
    parser.add_argument("--steps", type=int, help="of training, for all alike")
    parser.add_argument("--labels", action="store_true", help="teach all arms, alone")
    options = parser.parse_args(words)
    options.shown = [shown(Path(word)) if os.sep in word else word for word in words]
    options.runs = options.runs or options.json.parent / "runs" / options.json.stem
    return options


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Place in the spec → what stands there for all arms."""
    length = {"finetune.steps": options.steps} if options.steps else {}
    return length | (FROM_LABELS if options.labels else {})


def _numbers(kind: type) -> Any:
    return lambda text: [kind(word) for word in text.split(",")]


def main(subject: Subject, words: Sequence[str] | None = None) -> None:
    """The command of a subject's module."""
    options = arguments(subject, sys.argv[1:] if words is None else words)
    options.runs.mkdir(parents=True, exist_ok=True)
    document = compare(subject, options)
    durable.write_text(options.json, json.dumps(document, indent=1) + "\n", force=True)
    print(table(subject, document))
    print(draw(subject, options.json))
