"""What the records of ``compare`` come to: points, a table of them, and a figure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks.codecs.arms import UNTIED

Point = dict[str, Any]

#: How far below the untied network an arm may be, and the share of its bytes that is
#: the aim.
LOSS, SHARE = 0.01, 1 / 12
#: Kind of a point → colour and marker.
STYLES = {
    "untied": ("#000000", "*"),
    "wpack, codecs": ("#0072b2", "o"),
    "wpack, pools": ("#56b4e9", "s"),
    "wpack, pools × codecs": ("#009e73", "D"),
    "nncodec": ("#d55e00", "^"),
    "torchao": ("#cc79a7", "v"),
    "zipnn": ("#e69f00", "P"),
    "safetensors": ("#999999", "X"),
}


def points(document: dict[str, Any]) -> list[Point]:
    """Every arm and rival that was measured, largest first.

    A point has ``name``, ``kind`` (of :data:`STYLES`), ``nbytes`` (the mean over
    seeds), ``share`` of the untied network's float32 bytes, ``accuracy`` (test, the
    mean over seeds), ``deviation`` (over seeds, of the sample; 0 for one), ``loss`` in
    accuracy against the untied network of the same seed (the mean), ``is_lossless``,
    which only rivals are, and ``runs``.
    """
    best = document["chosen_rates"]
    runs = [run for run in document["runs"] if run["rate"] == best.get(run["arm"])]
    untied = {run["seed"]: run for run in runs if run["arm"] == UNTIED.name}
    if not untied:
        return []
    found: dict[tuple[str, str], list[Point]] = {}
    for run in runs:
        name = run["arm"]
        row = _row(run, untied[run["seed"]])
        found.setdefault((_kind(name), name), []).append(row)
    for rival in document["rivals"]:
        for row in rival["rows"]:
            if row["absent"] is None:
                kind = row["name"].partition(" ")[0]
                values = _row(row, untied[rival["seed"]])
                found.setdefault((kind, row["name"]), []).append(values)
    made = [_point(*key, rows) for key, rows in found.items()]
    return sorted(made, key=lambda point: -point["nbytes"])


def _row(found: dict[str, Any], untied: dict[str, Any]) -> Point:
    accuracy = found["metrics"]["accuracy"]
    return {
        "nbytes": found["nbytes"],
        "share": found["nbytes"] / untied["inflated_nbytes"],
        "accuracy": accuracy,
        "loss": untied["metrics"]["accuracy"] - accuracy,
        "is_lossless": found.get("changed") == 0,
    }


def _kind(arm: str) -> str:
    if arm == UNTIED.name:
        return arm
    if not arm.startswith("pools"):
        return "wpack, codecs"
    return "wpack, pools × codecs" if "," in arm else "wpack, pools"


def _point(kind: str, name: str, rows: list[Point]) -> Point:
    means = {key: statistics.fmean(row[key] for row in rows) for key in rows[0]}
    accuracies = [row["accuracy"] for row in rows]
    return {
        "name": name,
        "kind": kind,
        "runs": len(rows),
        "deviation": statistics.stdev(accuracies) if len(rows) > 1 else 0.0,
        **means,
        "nbytes": round(means["nbytes"]),
        "is_lossless": means["is_lossless"] == 1,
    }


def is_ours(point: Point) -> bool:
    """Whether wpack made it, and it is not the reference."""
    return bool(point["kind"].startswith("wpack"))


def smallest(found: Iterable[Point], most_loss: float) -> Point | None:
    """Of the points that lose no more than that, the smallest."""
    good = [point for point in found if point["loss"] <= most_loss + 1e-9]
    return min(good, key=lambda point: point["nbytes"], default=None)


def table(document: dict[str, Any]) -> str:
    """All points, largest first; who is smallest within a point; and for each rival
    that is not lossless, wpack's smallest that loses no more."""
    found = document["points"]
    lines = [
        f"{'':38} {'bytes':>10} {'of fp32':>8} {'accuracy':>8} {'±':>6} {'loss':>7}"
    ]
    for point in found:
        mark = "" if is_ours(point) or point["kind"] == UNTIED.name else "  "
        lines.append(
            f"{mark + point['name']:38} {point['nbytes']:>10,} {point['share']:8.2%}"
            f" {point['accuracy']:8.2%} {100 * point['deviation']:6.2f}"
            f" {100 * point['loss']:+7.2f}"
        )
    ours = [point for point in found if is_ours(point)]
    rivals = [p for p in found if not is_ours(p) and p["kind"] != UNTIED.name]
    lines.append(f"\nsmallest with at most {100 * LOSS:g} point of loss:")
    for who, some in (("wpack", ours), ("rivals", rivals)):
        lines.append(f"  {who:7} {_shown(smallest(some, LOSS))}")
    lossy = [point for point in rivals if not point["is_lossless"]]
    if lossy:
        lines.append("\neach lossy rival, and wpack's smallest that loses no more:")
    for rival in lossy:
        best = smallest(ours, rival["loss"])
        smaller = best is not None and best["nbytes"] < rival["nbytes"]
        lines.append(
            f"  {'smaller' if smaller else 'LARGER':8} {_shown(rival)} — {_shown(best)}"
        )
    return "\n".join(lines)


def _shown(point: Point | None) -> str:
    if point is None:
        return "none"
    name, nbytes, share = point["name"], point["nbytes"], point["share"]
    return f"{name} ({nbytes:,} bytes, 1/{1 / share:.1f}, {point['accuracy']:.2%})"


def draw(path: Path) -> Path:
    """Write the figure of a results file beside it.

    Returns:
        The figure, a PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import LogLocator, NullFormatter

    document = json.loads(path.read_text("utf-8"))
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    shown = _visible(document["points"])
    for kind, (colour, marker) in STYLES.items():
        some = [point for point in shown if point["kind"] == kind]
        if some:
            axes.errorbar(
                [point["nbytes"] for point in some],
                [100 * point["accuracy"] for point in some],
                [100 * point["deviation"] for point in some],
                color=colour,
                marker=marker,
                markersize=12 if kind == UNTIED.name else 6,
                linestyle="none",
                linewidth=0.8,
                label=kind,
            )
    _annotate(axes, shown)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda nbytes, _: f"{nbytes:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bytes of the file")
    axes.set_ylabel("test accuracy, %")
    seeds = len(document["seeds"])
    spread = f", mean ± standard deviation of {seeds} seeds" if seeds > 1 else ""
    title = f"{document['network']}, {document['steps']} steps{spread}"
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right")
    figure.savefig(path.with_suffix(".png"), dpi=150)
    pyplot.close(figure)
    return path.with_suffix(".png")


def _visible(found: list[Point]) -> list[Point]:
    """Those that lose no more than ten points: others would flatten the rest."""
    return [point for point in found if point["loss"] <= 10 * LOSS]


def _annotate(axes: Any, shown: list[Point]) -> None:
    """What is aimed at, and below it the names of what wpack made."""
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.35 * (high - low), high)
    foot = {"transform": axes.get_xaxis_transform(), "fontsize": 7, "rotation": 90}
    for point in shown:
        colour, _ = STYLES[point["kind"]]
        if point["kind"] == UNTIED.name:
            aim = SHARE * point["nbytes"] / point["share"]
            least = 100 * (point["accuracy"] - LOSS)
            axes.axvline(aim, color="0.4", linestyle="--", linewidth=0.8)
            axes.axhline(least, color="0.4", linestyle="--", linewidth=0.8)
            axes.text(aim, 0.99, " 1/12 of fp32", va="top", color="0.4", **foot)
        elif is_ours(point):
            name, nbytes = point["name"], point["nbytes"]
            axes.text(nbytes, 0.01, name, ha="center", color=colour, **foot)
