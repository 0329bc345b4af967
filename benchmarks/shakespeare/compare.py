r"""What sharing costs a language model: one pool, split pools, and nothing shared.

    export WPACK_DATA=…      # has text/tinyshakespeare.txt
    wpack finetune --from-scratch -s benchmarks/shakespeare/base.yaml -o base.wpool
    wpack inflate base.wpool -o base.safetensors
    python -m benchmarks.shakespeare.compare --checkpoint base.safetensors \
        --json benchmarks/results/shakespeare.json

A small GPT is first trained untied.  Every arm is then one ``wpack finetune`` of that
checkpoint for one more epoch, on the same windows of the text in the same order.
*untied* shares nothing: it is what the same budget gives the network itself.  *one
pool* has all matrices of the blocks in one ring; *split pools* has a ring each for
queries, keys, values, attention outputs and the two matrices of the MLPs, as the
paper's Table II.  Ratios are those of the pools; embeddings, output matrix, norms and
biases are kept.  With the first seed each arm chooses its learning rate out of the same
few, by the loss on the validation split; the other seeds have that one.  Losses are
those of ``wpack eval`` on the test split, in nats a character.  *Projected* is the loss
after ``wpack compress``, without any training.

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
from pathlib import Path
from typing import Any

from benchmarks.figure4 import machine
from benchmarks.trials import Arm, Record, Study, shown, tuned
from wpack import api, durable
from wpack.spec import load

HERE = Path(__file__).parent
RATIOS = (1.25, 2.0)
RATES = (1e-3, 3e-3)
UNTIED = "untied"
#: Kind of arm → its spec and its colour in the figure.
KINDS = {
    "one pool": (HERE / "one.yaml", "#0072b2"),
    "split pools": (HERE / "split.yaml", "#d55e00"),
}

Point = dict[str, Any]


def arm(kind: str, ratio: float) -> Arm:
    """All pools of a kind's spec at one ratio."""
    spec, _ = KINDS[kind]
    settings = {f"pools.{name}.ratio": ratio for name in load(spec).pools}
    return Arm(UNTIED if ratio == 1 else f"{kind} {ratio:g}", settings)


def arms(kind: str) -> list[Arm]:
    """The arms of a kind; the untied network is among those of the first."""
    ratios = (1.0, *RATIOS) if kind == next(iter(KINDS)) else RATIOS
    return [arm(kind, ratio) for ratio in ratios]


def projected(each: Arm, study: Study) -> Record:
    """The loss of an arm's network before it is trained."""
    spec = load(study.spec, [f"{k}={json.dumps(v)}" for k, v in each.settings.items()])
    path = study.folder / f"{each.name.replace(' ', '-')}-projected.wpool"
    api.compress(study.checkpoint, spec, path, force=True)
    batch = study.recipe.eval_batch_size
    metrics = api.evaluate(path, study.task, device="cpu", batch_size=batch)
    return {"arm": each.name, "metrics": metrics}


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """All runs: the document of the results."""
    records: list[Record] = []
    best: dict[str, float] = {}
    untrained: list[Record] = []
    for kind, (spec, _) in KINDS.items():
        study = Study(spec, options.checkpoint, options.runs, options.steps, "loss")
        found, rates = tuned(arms(kind), options.rates, options.seeds, study, 1)
        records += found
        best |= rates
        untrained += [projected(each, study) for each in arms(kind)]
    document = {
        "command": "python -m benchmarks.shakespeare.compare "
        + shlex.join(options.shown),
        "machine": {**machine("cpu"), "threads": 1},
        "checkpoint_sha256": study.sha256,
        "checkpoint": untrained[0]["metrics"],
        "steps": study.length,
        "batch_size": study.recipe.batch_size,
        "seeds": options.seeds,
        "rates": options.rates,
        "chosen_rates": best,
        "projected": untrained[1:],
        "runs": records,
    }
    return {**document, "points": points(document)}


def points(document: dict[str, Any]) -> list[Point]:
    """Each arm at its chosen rate: ``arm``, ``free_parameters``, ``nbytes``, ``runs``,
    ``loss`` and ``accuracy`` (test, means over seeds), ``deviation`` of the loss (over
    seeds, of the sample; 0 for one), ``gap``, the mean difference in loss to the untied
    network of the same seed, ``gaps``, each of them, and the loss ``projected``."""
    best = document["chosen_rates"]
    runs = [run for run in document["runs"] if run["rate"] == best.get(run["arm"])]
    untied = {r["seed"]: r["metrics"]["loss"] for r in runs if r["arm"] == UNTIED}
    untrained = {r["arm"]: r["metrics"]["loss"] for r in document["projected"]}
    untrained[UNTIED] = document["checkpoint"]["loss"]
    made = []
    for name in (each.name for kind in KINDS for each in arms(kind)):
        rows = [run for run in runs if run["arm"] == name]
        losses = [row["metrics"]["loss"] for row in rows]
        gaps = [row["metrics"]["loss"] - untied[row["seed"]] for row in rows]
        made.append(
            {
                "arm": name,
                "rate": best[name],
                "free_parameters": rows[0]["free_parameters"],
                "nbytes": rows[0]["nbytes"],
                "runs": len(rows),
                "loss": statistics.fmean(losses),
                "deviation": statistics.stdev(losses) if len(losses) > 1 else 0.0,
                "accuracy": statistics.fmean(r["metrics"]["accuracy"] for r in rows),
                "gap": statistics.fmean(gaps),
                "gaps": gaps,
                "projected": untrained[name],
            }
        )
    return made


def table(document: dict[str, Any]) -> str:
    """The points, a row each, as Markdown."""
    lines = [
        "| arm | free parameters | bytes | projected | loss | ± | against untied |"
        " next character right |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {p['arm']} | {p['free_parameters']:,} | {p['nbytes']:,} |"
        f" {p['projected']:.3f} | {p['loss']:.4f} | {p['deviation']:.4f} |"
        f" {p['gap']:+.4f} | {p['accuracy']:.2%} |"
        for p in document["points"]
    ]
    return "\n".join(lines)


def draw(path: Path) -> Path:
    """Write the figure of a results file beside it.

    Returns:
        The figure, a PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    document = json.loads(path.read_text("utf-8"))
    found = {point["arm"]: point for point in document["points"]}
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    untied = found[UNTIED]
    start = document["checkpoint"]["loss"]
    axes.axhline(start, color="0.6", linestyle=":", label="checkpoint")
    axes.axhline(untied["loss"], color="0.2", linestyle="--", label="untied")
    for kind, (_, colour) in KINDS.items():
        some = [untied, *(p for n, p in found.items() if n.startswith(kind))]
        axes.errorbar(
            [point["free_parameters"] for point in some],
            [point["loss"] for point in some],
            [point["deviation"] for point in some],
            color=colour,
            marker="o",
            capsize=3,
            label=kind,
        )
    axes.set_xlabel("free parameters")
    axes.set_ylabel("test loss, nats a character")
    seeds = len(document["seeds"])
    spread = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    title = f"tinyshakespeare, {document['steps']} steps{spread}"
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=150)
    pyplot.close(figure)
    return path.with_suffix(".png")


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What the command was told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--checkpoint", type=Path, required=True, help="the untied")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--runs", type=Path, help="their folder  [beside OUT]")
    parser.add_argument("--seeds", type=_numbers(int), default=[0, 1, 2])
    parser.add_argument("--rates", type=_numbers(float), default=list(RATES))
    parser.add_argument("--steps", type=int, help="of training, for all alike")
    options = parser.parse_args(words)
    options.shown = [shown(Path(word)) if os.sep in word else word for word in words]
    options.runs = options.runs or options.json.parent / "runs" / options.json.stem
    return options


def _numbers(kind: type) -> Any:
    return lambda text: [kind(word) for word in text.split(",")]


def main(words: Sequence[str] | None = None) -> None:
    """The command of the module's docstring."""
    options = arguments(sys.argv[1:] if words is None else words)
    options.runs.mkdir(parents=True, exist_ok=True)
    document = compare(options)
    durable.write_text(options.json, json.dumps(document, indent=1) + "\n", force=True)
    print(table(document))
    print(draw(options.json))


if __name__ == "__main__":
    main()
