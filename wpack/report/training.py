"""Fine-tuning as it goes on, on stderr, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from ..events import Evaluated, Event, Finished, Saved, Step
from . import coding, units
from . import stats as file_report
from .document import document
from .names import printable
from .progress import INTERVAL, Clock
from .screen import console
from .table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from ..stats import FileStats

Watch = Callable[[Event], object]


@dataclass(frozen=True)
class FinetuneReport:
    """``wpack finetune``: metrics before and after, and what the file costs."""

    finished: Finished
    stats: FileStats

    def document(self) -> dict[str, Any]:
        """Metrics by split, before the first step and of the result, and the cost."""
        finished = self.finished
        return document(
            output=self.stats.path,
            step=finished.step,
            metric=finished.metric,
            before=finished.before,
            after=finished.after,
            stats=self.stats.to_json(),
        )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        from .results import written

        yield before_and_after(self.finished)
        yield ""
        yield file_report.pools(self.stats)
        yield from coding.of(self.stats)
        yield ""
        yield from written(self.stats.path, self.stats.file_bytes)
        yield from file_report.copies(self.stats)


def before_and_after(finished: Finished) -> Table:
    """A row for each metric of each split."""
    rows = [
        (split, name, finished.before.get(split, {}).get(name), value)
        for split, metrics in finished.after.items()
        for name, value in metrics.items()
    ]
    before = ["-" if row[2] is None else units.metric(row[2]) for row in rows]
    return Table(
        [
            Column("split", [printable(row[0]) for row in rows]),
            Column("metric", [printable(row[1]) for row in rows]),
            Column("before", before, right=True),
            Column("after", [units.metric(row[3]) for row in rows], right=True),
        ]
    )


def of_training(
    stream: TextIO,
    *,
    shown: bool = True,
    color: bool = True,
    clock: Clock = time.monotonic,
) -> AbstractContextManager[Watch]:
    """A context that gives the function to call with every event."""
    if not shown:
        return nullcontext(lambda event: None)
    target = console(stream, color=color)
    if target.is_terminal and not target.is_dumb_terminal:
        return _bar(target)
    return nullcontext(_Lines(stream, clock))


class _Lines:
    """A line for each evaluation, and one for a step every few seconds and at the end
    of an epoch."""

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self.stream = stream
        self.clock = clock
        self.said = clock()
        self.epoch = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Step):
            now, epoch = self.clock(), int(event.epoch)
            if now - self.said < INTERVAL and epoch == self.epoch:
                return
            self.said, self.epoch = now, epoch
        if line := in_words(event):
            print(f"wpack: {line}", file=self.stream, flush=True)


@contextmanager
def _bar(target: Console) -> Iterator[Watch]:
    from rich import progress as rich

    columns = (
        rich.BarColumn(bar_width=None),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.description}", markup=False),
    )
    with rich.Progress(*columns, console=target, transient=True) as bar:
        task = bar.add_task("", total=None)
        metric = ""

        def watch(event: Event) -> None:
            nonlocal metric
            if isinstance(event, Step):
                text = (
                    f"loss {event.loss:.4g}{metric}, {_pace(event)},"
                    f" {units.seconds(event.seconds_left)} left"
                )
                bar.update(
                    task, completed=event.step, total=event.steps, description=text
                )
                return
            if isinstance(event, Evaluated) and event.metric in event.metrics:
                value = units.metric(event.metrics[event.metric])
                metric = f", {printable(event.metric)} {value}"
            if line := in_words(event):
                bar.print(line)

        yield watch


def in_words(event: Event) -> str:
    """One line about an event, or "" for one that needs none."""
    if isinstance(event, Step):
        return (
            f"step {units.count(event.step)} of {units.count(event.steps)}, epoch"
            f" {event.epoch:.2f}: loss {event.loss:.4g}, learning rate"
            f" {event.rate:.3g}, {_pace(event)},"
            f" {units.seconds(event.seconds_left)} left"
        )
    if isinstance(event, Evaluated):
        best = ", the best so far" if event.is_best else ""
        return (
            f"step {units.count(event.step)}, {printable(event.split)}:"
            f" {_metrics(event.metrics)}{best}"
        )
    if isinstance(event, Saved):
        return f"step {units.count(event.step)}: saved {printable(event.path)}"
    return ""


def _pace(step: Step) -> str:
    """``1,234 images/s``; below ten with two digits, for what is large."""
    rate = step.per_second
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"{shown} {printable(step.unit)}/s"


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{printable(k)} {units.metric(v)}" for k, v in metrics.items())
