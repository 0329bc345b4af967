"""What the records of ``compare`` come to: a table of them, and a figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.cifar10.arms import INGREDIENTS, OURS, RECIPE, TRIED, UNTIED

Record = dict[str, Any]


def accuracies(document: dict[str, Any], arm: str) -> dict[int, float]:
    """Seed → test accuracy of an arm, in per cent, at the rate it chose or was
    given."""
    rate = document["chosen_rates"].get(arm)
    return {
        run["seed"]: 100 * run["metrics"]["accuracy"]
        for run in document["runs"]
        if run["arm"] == arm and rate in (None, run["rate"]) and "failed" not in run
    }


def closed(document: dict[str, Any], ratio: float) -> dict[int, float]:
    """Seed → the share of the gap between the paper's recipe and the untied network
    that wpack's closes; seeds without a gap are left out."""
    untied = accuracies(document, UNTIED.name)
    recipe = accuracies(document, f"{RECIPE}, {ratio}")
    ours = accuracies(document, f"{OURS}, {ratio}")
    return {
        seed: (ours[seed] - recipe[seed]) / (untied[seed] - recipe[seed])
        for seed in sorted(untied.keys() & recipe.keys() & ours.keys())
        if untied[seed] != recipe[seed]
    }


def table(document: dict[str, Any]) -> str:
    """Every arm; how much of the gap is closed; and what each ingredient is worth."""
    lines = [f"{'':28} {'rate':>6} {'test accuracy, %':>17} {'runs':>5}"]
    names = [UNTIED.name]
    names += [f"{who}, {r}" for r in document["ratios"] for who in (RECIPE, OURS)]
    lines += [_line(document, name) for name in names]
    lines.append("\ngap between the paper's recipe and the untied network, closed:")
    for ratio in document["ratios"]:
        shares = closed(document, ratio)
        means = statistics.fmean(shares.values()) if shares else float("nan")
        each = ", ".join(f"{share:.0%}" for share in shares.values())
        lines.append(f"  ratio {ratio}: {means:.0%}  ({each})")
    if document["parts_ratio"] is not None:
        lines += ["", *_parts(document)]
    return "\n".join(lines)


def _line(document: dict[str, Any], arm: str) -> str:
    found = list(accuracies(document, arm).values())
    rate = document["chosen_rates"].get(arm)
    shown = "" if rate is None else f"{rate:g}"
    return f"{arm:28} {shown:>6} {_spread(found):>17} {len(found):>5}"


def _spread(values: list[float]) -> str:
    if not values:
        return "failed"
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.2f}{deviation}"


def _parts(document: dict[str, Any]) -> Iterable[str]:
    """An ingredient a line: points that it adds to the recipe, and to the rest of
    wpack's or, where it is not in that, to all of it: the mean and the sample standard
    deviation of the differences on the same seeds."""
    ratio = document["parts_ratio"]
    recipe = accuracies(document, f"{RECIPE}, {ratio}")
    ours = accuracies(document, f"{OURS}, {ratio}")
    yield f"{'ratio ' + str(ratio):28} {'added alone':>14} {'in wpack, or added':>20}"
    for name in (*INGREDIENTS, *TRIED):
        alone = accuracies(document, f"with {name} alone, {ratio}")
        without = accuracies(document, f"without {name}, {ratio}")
        more = accuracies(document, f"with {name} too, {ratio}")
        worth = _difference(ours, without) if without else _difference(more, ours)
        yield f"  {name:26} {_difference(alone, recipe):>14} {worth:>20}"


def _difference(these: dict[int, float], those: dict[int, float]) -> str:
    seeds = these.keys() & those.keys()
    if not seeds:
        return "failed"
    found = [these[seed] - those[seed] for seed in seeds]
    deviation = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    return f"{statistics.fmean(found):+.2f}{deviation}"


def draw(path: Path) -> Path:
    """Write the figure of a results file beside it.

    Returns:
        The figure, a PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    document = json.loads(path.read_text("utf-8"))
    figure, axes = pyplot.subplots(figsize=(6.5, 4.5), layout="constrained")
    untied = list(accuracies(document, UNTIED.name).values())
    axes.axhline(statistics.fmean(untied), color="0.2", linestyle="--", label="untied")
    for who, colour, marker in ((RECIPE, "#d55e00", "s"), (OURS, "#0072b2", "o")):
        found = [
            list(accuracies(document, f"{who}, {ratio}").values())
            for ratio in document["ratios"]
        ]
        axes.errorbar(
            document["ratios"],
            [statistics.fmean(values) for values in found],
            [statistics.stdev(v) if len(v) > 1 else 0.0 for v in found],
            color=colour,
            marker=marker,
            capsize=3,
            label=who,
        )
    seeds, epochs = len(document["seeds"]), document["epochs"]
    axes.set_xlabel("kernel weights a stored one (N_h)")
    axes.set_ylabel("CIFAR-10 (JPEG) test accuracy, %")
    axes.set_title(
        f"ResNet-{document['depth']}, {epochs} epochs, mean ± standard deviation of"
        f" {seeds} seeds",
        fontsize="medium",
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=150)
    pyplot.close(figure)
    return path.with_suffix(".png")
