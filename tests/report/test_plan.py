"""What would be shared with what."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from wpack import techniques
from wpack.plan import Plan, PoolPlan
from wpack.plan_reader import read_plan
from wpack.report import screen
from wpack.report.plan import SHOWN, PlanReport
from wpack.stats import FileStats
from wpack.table import Slice, SliceTable
from wpack.tensors import FLOAT32


def text(report: object, monkeypatch: pytest.MonkeyPatch, width: int = 80) -> str:
    """The report in this many columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    return screen.text(report, io.StringIO())


def test_who_shares_with_whom(
    plan: Plan, packed: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stretch of the pool, its readers, and the size to the byte."""
    expected = """\

pool mlp: 2 slices read 12 backing weights
from  to  weights  reads  read by
────────────────────────────────────────────────
   0   4        4      2  blocks.{0-1}.fc.weight
   4   8        4      1  blocks.0.fc.weight
   8  12        4      1  blocks.1.fc.weight

x.wpool would take 408 bytes for 272 bytes of tensors: 52 free parameters for 68
working, ratio 1.31
"""
    report = PlanReport(plan, packed, output="x.wpool")

    assert text(report, monkeypatch).endswith(expected)
    assert text(report, monkeypatch).startswith("pool               technique")
    assert "\n\nno multiplication, no random access: " in text(report, monkeypatch)


def test_what_loading_will_compute(
    plan: Plan, computed: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The paper's Table I, before anything is written."""
    found = text(PlanReport(plan, computed), monkeypatch)

    assert "\nout    smh        no               2,401                0\n" in found


def test_long_plans_are_cut(packed: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many stretches the first are listed; all of them when asked for."""
    slices = tuple(Slice(f"t{i}", (1, 1), 0, 1, "", i, 1) for i in range(SHOWN + 5))
    pool = PoolPlan(
        "p", techniques.named("global")(), FLOAT32, SliceTable(SHOWN + 5, slices)
    )
    report = PlanReport(Plan((pool,), (), 64), packed)
    last = f"{SHOWN + 4}  {SHOWN + 5}        1      1  t{SHOWN + 4}"

    assert "and 5 more stretches (-v lists all)\n" in text(report, monkeypatch)
    assert last not in text(report, monkeypatch)
    assert last in text(replace(report, full=True), monkeypatch)


def test_unread_weights_are_named(
    packed: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What rounding up adds to a pool is read by nothing, and said to be."""
    slices = (Slice("t", (2, 2), 0, 4, "", 0, 4),)
    pool = PoolPlan("p", techniques.named("global")(), FLOAT32, SliceTable(6, slices))
    report = PlanReport(Plan((pool,), (), 64), packed)

    assert "   4   6        2      0  nothing\n" in text(report, monkeypatch)


def test_upper_bounds(
    plan: Plan, coded: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an entropy coder will make of weights is not known before they are read."""
    exact = text(PlanReport(plan, coded, output="o.wpool"), monkeypatch)
    found = text(PlanReport(plan, replace(coded, exact=False)), monkeypatch)

    assert "\no.wpool would take 313 bytes for " in exact
    assert "\nthe file would take at most 313 bytes for " in found
    assert "prune+int+zstd" in found


def test_document(plan: Plan, packed: FileStats) -> None:
    """The plan as the file holds it, and the cost as stats gives it."""
    document = PlanReport(plan, packed, ("kept: 3 biases",)).document()

    assert read_plan(json.dumps(document["plan"])) == plan
    assert document["stats"] == packed.to_json()
    assert document["notes"] == ["kept: 3 biases"]
    assert document["output"] is None
