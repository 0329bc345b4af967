"""What happens during fine-tuning, as values: for progress bars, logs and tests."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Metric → mean over a split.
Metrics = dict[str, float]


@dataclass(frozen=True)
class Event:
    """Base of all events."""

    def record(self) -> dict[str, Any]:
        """The event as JSON values, for the log."""
        values = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self).items()
        }
        return {"event": type(self).__name__.lower(), **values}


@dataclass(frozen=True)
class Step(Event):
    """A step was taken.

    Attributes:
        step: Which, from 1.
        steps: Of how many.
        epoch: Passes over the training data so far, a fraction.
        loss: What the step minimised, before it.
        rate: The learning rate.
        per_second: Of the task's units, evaluation and saving left out.
        seconds_left: Until the last step, likewise.
        unit: The task's, in the plural: ``images``, ``tokens``.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    rate: float
    per_second: float
    seconds_left: float
    unit: str


@dataclass(frozen=True)
class Evaluated(Event):
    """A split was evaluated with the weights as they would be stored.

    Attributes:
        step: Steps after which the weights were these.
        split: ``validation`` or ``test``.
        metrics: All of the task's.
        metric: The one that counts.
        is_best: The best on ``validation`` so far; never for ``test``.
    """

    step: int
    split: str
    metrics: Metrics
    metric: str
    is_best: bool


@dataclass(frozen=True)
class Saved(Event):
    """The run can be resumed from here."""

    step: int
    path: Path


@dataclass(frozen=True)
class Note(Event):
    """Something worth telling: what was resumed, what was passed over, a full disk."""

    text: str


@dataclass(frozen=True)
class Finished(Event):
    """The student holds the result.

    Attributes:
        step: Steps after which the weights were best; the last where the task has no
            validation split.
        metric: The metric that counts.
        before: Split → metrics, before the first step.
        after: Split → metrics of the result.
    """

    step: int
    metric: str
    before: dict[str, Metrics]
    after: dict[str, Metrics]
