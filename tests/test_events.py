"""Events as JSON values."""

from __future__ import annotations

from pathlib import Path

from wpack.events import Evaluated, Finished, Note, Saved, Step


def test_records() -> None:
    """An event's record has its kind and its fields, paths as text."""
    events = [
        Step(1, 2, 0.5, 3.0, 0.1, 8.0, 9.0, "tokens"),
        Evaluated(1, "test", {"loss": 2.0}, "loss", False),
        Saved(2, Path("a", "step-000002")),
        Note("hello"),
        Finished(2, "loss", {}, {"test": {"loss": 1.0}}),
    ]
    expected = [
        {
            "event": "step",
            "step": 1,
            "steps": 2,
            "epoch": 0.5,
            "loss": 3.0,
            "rate": 0.1,
            "per_second": 8.0,
            "seconds_left": 9.0,
            "unit": "tokens",
        },
        {
            "event": "evaluated",
            "step": 1,
            "split": "test",
            "metrics": {"loss": 2.0},
            "metric": "loss",
            "is_best": False,
        },
        {"event": "saved", "step": 2, "path": str(Path("a", "step-000002"))},
        {"event": "note", "text": "hello"},
        {
            "event": "finished",
            "step": 2,
            "metric": "loss",
            "before": {},
            "after": {"test": {"loss": 1.0}},
        },
    ]

    assert expected == [event.record() for event in events]
