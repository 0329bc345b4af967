"""What commands did or found."""

from __future__ import annotations

import io
import math

import pytest

from tests.blobs import needs
from wpack.diff import Difference, TensorDifference
from wpack.report import screen
from wpack.report.results import (
    DiffReport,
    EvalReport,
    PackReport,
    SpecReport,
    TextReport,
    VerifyReport,
    WrittenReport,
)
from wpack.stats import FileStats


@pytest.fixture(autouse=True)
def _columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def text(report: object) -> str:
    """The report in 80 columns."""
    return screen.text(report, io.StringIO())


def test_pack(packed: FileStats, plain: FileStats) -> None:
    """Input and output side by side, then the pools, then what was written."""
    report = PackReport(plain, packed, ("kept: 1 bias",))
    found = text(report).splitlines()

    assert found[2].startswith("vit.safetensors  safetensors  4,000,000")
    assert found[3].startswith("vit.wpool        wpool              408")
    assert found[-2:] == [
        "wrote runs/vit.wpool: 408 bytes",
        "copied, crosses the end of its pool: blocks.1.fc.weight",
    ]
    assert report.document() == {
        "schema_version": 1,
        "output": "runs/vit.wpool",
        "source": plain.to_json(),
        "stats": packed.to_json(),
        "calibrated_tensors": 0,
        "calibrated": [],
        "notes": ["kept: 1 bias"],
    }


def test_pack_calibrated(packed: FileStats, plain: FileStats) -> None:
    """Which tensors are no longer the checkpoint's, and how many."""
    report = PackReport(plain, packed, calibrated=("a.bias", "b.bias"))
    document = report.document()

    assert "2 kept tensors calibrated; all others are the checkpoint's" in text(report)
    assert (2, ["a.bias", "b.bias"]) == (
        document["calibrated_tensors"],
        document["calibrated"],
    )


@needs("prune, int, bfloat16, zstd")
def test_pack_with_codecs(coded: FileStats, plain: FileStats) -> None:
    """Every stage between the pools and what was written."""
    found = text(PackReport(plain, coded)).splitlines()
    at = found.index("stored    values  prune  int  bfloat16  zstd  entropy     over")

    assert found[at - 2].endswith("1.31    313")
    assert found[at + 6 : at + 8] == ["", "wrote runs/vit.wpool: 313 bytes"]


def test_written() -> None:
    """The path and the size, exact and rounded."""
    report = WrittenReport("out\n.pt", 412_304)

    assert text(report) == "wrote out\\n.pt: 402.6 KiB (412,304 bytes)\n"
    assert report.document() == {
        "schema_version": 1,
        "output": "out\n.pt",
        "bytes": 412_304,
    }


def test_verify() -> None:
    """A line a file, and one more for each problem."""
    report = VerifyReport({"a": (), "b": ("pool/q: its hash differs",)})

    assert text(report) == "a: ok\nb: 1 problem\n  pool/q: its hash differs\n"
    assert not report.sound
    assert VerifyReport({"a": ()}).sound
    assert report.document()["files"][1] == {
        "path": "b",
        "ok": False,
        "problems": ["pool/q: its hash differs"],
    }


def test_eval() -> None:
    """Metrics by name, aligned."""
    report = EvalReport("x.wpool", "t:t", {"accuracy": 0.9731, "loss": math.nan})
    expected = (
        "metric     value\n────────────────\naccuracy  0.9731\nloss         nan\n"
    )

    assert expected == text(report)
    assert report.document()["metrics"]["accuracy"] == 0.9731


def test_no_difference() -> None:
    """Equal files are said to be equal, with how much was compared."""
    same = Difference(0.0, None, (), (), (), 1)
    report = DiffReport("a", "b", same)

    assert text(report) == "no difference in 1 tensor\n"
    assert report.document()["same"] is True


def test_difference() -> None:
    """What only one has, how much the others differ, and where first."""
    differing = (
        TensorDifference("q.weight", 0.25, 3, 64),
        TensorDifference("k.weight", math.inf, 64, 64, "float32 [8] against [64]"),
    )
    found = Difference(math.inf, "q.weight", ("lost",), (), differing, 5)
    expected = """\
only in a.wpool: lost
2 of 5 tensors compared differ, at most by inf; the first is q.weight

tensor    max difference  values  of  why
──────────────────────────────────────────────────────────────
q.weight            0.25       3  64
k.weight             inf      64  64  float32 [8] against [64]
"""
    report = DiffReport("a.wpool", "b.pt", found)

    assert expected == text(report)
    assert report.document()["same"] is False
    assert report.document()["differing"][0]["count"] == 3


def test_many_differences() -> None:
    """People see the first twenty and how many more there are."""
    differing = tuple(TensorDifference(f"t{i}", 1.0, 1, 1) for i in range(23))
    names = tuple(f"u{i}" for i in range(21))
    found = text(DiffReport("a", "b", Difference(1.0, "t0", (), names, differing, 23)))

    assert "u19 and 1 more\n" in found
    assert found.endswith("and 3 more (--json lists all)\n")
    assert "t19 " in found
    assert "t20 " not in found


def test_spec() -> None:
    """A spec without mistakes is summed up."""
    report = SpecReport("pools.yaml", ("q", "k"))

    assert text(report) == "pools.yaml: ok, 2 pools: q, k\n"
    assert report.document()["pools"] == ["q", "k"]


def test_text() -> None:
    """A text is printed as it is, or is one string of the document."""
    report = TextReport("spec", "version: 1\n  [b]: x\n")

    assert text(report) == "version: 1\n  [b]: x\n"
    assert report.document()["spec"] == "version: 1\n  [b]: x\n"
