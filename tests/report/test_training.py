"""Fine-tuning on stderr, and its result."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from wpack.events import Evaluated, Event, Finished, Note, Saved, Step
from wpack.report import screen
from wpack.report.training import FinetuneReport, in_words, of_training
from wpack.stats import FileStats

FINISHED = Finished(
    step=80,
    metric="accuracy",
    before={"validation": {"accuracy": 0.25, "loss": 2.0}},
    after={
        "validation": {"accuracy": 0.9375, "loss": 0.125},
        "test": {"accuracy": 0.9},
    },
)


def step(number: int, epoch: float) -> Step:
    """A step of a hundred."""
    return Step(number, 100, epoch, 0.51234, 1e-3, 1234.5, 67.0, "images")


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            step(7, 1.5),
            "step 7 of 100, epoch 1.50: loss 0.5123, learning rate 0.001,"
            " 1,234 images/s, 1:07 left",
        ),
        (
            replace(step(7, 1.5), per_second=1.25, unit="clips\x1b"),
            "step 7 of 100, epoch 1.50: loss 0.5123, learning rate 0.001,"
            " 1.2 clips\\x1b/s, 1:07 left",
        ),
        (
            Evaluated(
                7, "validation", {"accuracy": 0.9, "loss": 0.1}, "accuracy", True
            ),
            "step 7, validation: accuracy 0.9, loss 0.1, the best so far",
        ),
        (
            Evaluated(7, "test\x1b", {"accuracy": 0.9}, "accuracy", False),
            "step 7, test\\x1b: accuracy 0.9",
        ),
        (Saved(7, Path("out.run/step-7")), "step 7: saved out.run/step-7"),
        (Note("resumed"), ""),
        (FINISHED, ""),
    ],
)
def test_in_words(event: Event, expected: str) -> None:
    """Each event is one line; notes and the result are told elsewhere."""

    assert expected == in_words(event)


def test_lines() -> None:
    """Without a terminal: a step every few seconds and at the end of an epoch."""
    stream = io.StringIO()
    times = iter([0.0, 1.0, 2.0, 3.0, 9.0])
    with of_training(stream, clock=lambda: next(times)) as watch:
        for event in (step(1, 0.4), step(2, 0.8), step(3, 1.2), step(4, 1.6)):
            watch(event)
        watch(Evaluated(4, "validation", {"accuracy": 0.5}, "accuracy", False))
    found = stream.getvalue().splitlines()

    assert [line.partition(":")[2][:14] for line in found] == [
        " step 3 of 100",
        " step 4 of 100",
        " step 4, valid",
    ]


def test_not_shown() -> None:
    """--no-progress and --quiet mean none at all."""
    stream = io.StringIO()
    with of_training(stream, shown=False) as watch:
        watch(Saved(1, Path("x")))

    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal steps move a bar, and evaluations stand above it."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    with of_training(stream) as watch:
        watch(Evaluated(50, "validation", {"accuracy": 0.5}, "accuracy", True))
        watch(step(51, 1.0))

    assert "51/100" in stream.getvalue()
    assert "loss 0.5123, accuracy 0.5, 1,234 images/s, 1:07 left" in stream.getvalue()
    assert "step 50, validation: accuracy 0.5, the best so far" in stream.getvalue()


def test_report(packed: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics before and after, the pools, and what was written."""
    monkeypatch.setenv("COLUMNS", "80")
    report = FinetuneReport(FINISHED, packed)
    expected = """\
split       metric    before   after
────────────────────────────────────
validation  accuracy    0.25  0.9375
validation  loss           2   0.125
test        accuracy       -     0.9

pool """
    found = screen.text(report, io.StringIO())

    assert found.startswith(expected)
    assert "\nwrote runs/vit.wpool: 408 bytes\n" in found
    assert report.document() == {
        "schema_version": 1,
        "output": "runs/vit.wpool",
        "step": 80,
        "metric": "accuracy",
        "before": FINISHED.before,
        "after": FINISHED.after,
        "stats": packed.to_json(),
    }
