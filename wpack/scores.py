"""What evaluations have given during a run, and which was best."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .errors import UsageError
from .events import Metrics


@dataclass
class Scores:
    """All of it is saved with the run.

    Attributes:
        metric: The metric that counts.
        lower_is_better: Which way.
        step: Steps taken at the last evaluation; -1 before the first.
        before: Split → metrics before the first step.
        latest: Split → metrics of the last evaluation.
        best: Metrics of the best validation, empty before the first.
        best_step: Steps taken then.
    """

    metric: str
    lower_is_better: bool
    step: int = -1
    before: dict[str, Metrics] = field(default_factory=dict)
    latest: dict[str, Metrics] = field(default_factory=dict)
    best: Metrics = field(default_factory=dict)
    best_step: int = -1

    def add(self, step: int, split: str, metrics: Metrics) -> bool:
        """Take in an evaluation; whether it is the best validation so far.

        An equal one is not better: of two equals the earlier is kept.

        Raises:
            UsageError: :attr:`metric` is not among ``metrics``.
        """
        if self.metric not in metrics:
            raise UsageError(
                f"the task has no metric {self.metric!r}",
                where="finetune.metric",
                hint=f"It has: {', '.join(metrics)}",
            )
        self.latest[split] = metrics
        if step == 0:
            self.before[split] = metrics
        if split != "validation" or not self._is_better(metrics):
            return False
        self.best, self.best_step = metrics, step
        return True

    def settle(self, last: int) -> int:
        """Go back to the best validation, which from now on is the latest.

        Returns:
            The step of the result; ``last`` where nothing was validated.
        """
        if not self.best:
            return last
        self.latest["validation"] = self.best
        return self.best_step

    def _is_better(self, metrics: Metrics) -> bool:
        new, old = metrics[self.metric], self.best.get(self.metric, math.nan)
        if math.isnan(new) or math.isnan(old):
            return not self.best or not math.isnan(new)
        return new < old if self.lower_is_better else new > old
