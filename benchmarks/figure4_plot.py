"""Draws the records of ``benchmarks/figure4.py``: mean and standard deviation."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

#: Technique → colour and marker, in the legend's order.
STYLES = {
    "global": ("#0072b2", "o"),
    "layered": ("#009e73", "s"),
    "hashed": ("#56b4e9", "v"),
    "all_pairs": ("#d55e00", "^"),
    "outer": ("#cc79a7", "D"),
    "smh": ("#e69f00", "P"),
    "dense": ("#000000", "*"),
}


def points(document: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Technique → its points by free parameters.

    A point has ``ratio``, ``free_parameters``, ``accuracy`` (test, the mean over
    seeds), ``deviation`` (over seeds, of the sample; 0 for one seed) and ``runs``.
    """
    accuracies: dict[tuple[str, float, int], list[float]] = defaultdict(list)
    for run in document["runs"]:
        if not run["tuning"] and "failed" not in run:
            key = (run["technique"], run["ratio"], run["free_parameters"])
            accuracies[key].append(run["test"]["accuracy"])
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for (technique, ratio, free), values in sorted(accuracies.items()):
        found[technique].append(
            {
                "ratio": ratio,
                "free_parameters": free,
                "accuracy": statistics.fmean(values),
                "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
                "runs": len(values),
            }
        )
    return {
        technique: sorted(found[technique], key=lambda p: p["free_parameters"])
        for technique in STYLES
        if technique in found
    }


def draw(path: Path) -> Path:
    """Write the figure of a results file beside it, and the figure's points into it.

    Returns:
        The figure, a PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    document = json.loads(path.read_text("utf-8"))
    document["points"] = points(document)
    path.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    figure, axes = pyplot.subplots(figsize=(7.5, 5), layout="constrained")
    for technique, line in document["points"].items():
        colour, marker = STYLES[technique]
        axes.errorbar(
            [point["free_parameters"] for point in line],
            [100 * point["accuracy"] for point in line],
            [100 * point["deviation"] for point in line],
            color=colour,
            marker=marker,
            markersize=12 if technique == "dense" else 5,
            linestyle="none" if technique == "dense" else "-",
            linewidth=1.2,
            capsize=3,
            label=technique,
        )
    seeds = max(p["runs"] for line in document["points"].values() for p in line)
    axes.set_xscale("log")
    axes.set_xlabel("free parameters")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(
        f"trained from scratch, mean ± standard deviation of {seeds} seeds",
        fontsize="medium",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path.with_suffix(".png"), dpi=150)
    pyplot.close(figure)
    return path.with_suffix(".png")
