"""Progress on stderr: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TextIO

from . import units
from .names import printable
from .screen import console

if TYPE_CHECKING:
    from rich.console import Console

Watch = Callable[[int, int, str], object]
Clock = Callable[[], float]

#: Seconds between two lines where there is no bar.
INTERVAL = 5.0


def of_bytes(
    verb: str,
    stream: TextIO,
    *,
    shown: bool = True,
    color: bool = True,
    clock: Clock = time.monotonic,
) -> AbstractContextManager[Watch]:
    """Progress of work that is counted in bytes.

    Returns:
        A context that gives the function to call with bytes done, bytes in all, and
        the name of what is being worked on.
    """
    if not shown:
        return nullcontext(_ignore)
    target = console(stream, color=color)
    if target.is_terminal and not target.is_dumb_terminal:
        return _bar(verb, target)
    return nullcontext(_Lines(verb, stream, clock))


class _Lines:
    """A line every :data:`INTERVAL` seconds, the first after as long: quick work says
    nothing."""

    def __init__(self, verb: str, stream: TextIO, clock: Clock) -> None:
        self.verb = verb
        self.stream = stream
        self.clock = clock
        self.begun = self.said = clock()

    def __call__(self, done: int, total: int, what: str) -> None:
        now = self.clock()
        if now - self.said < INTERVAL or not done:
            return
        self.said = now
        rate = done / (now - self.begun)
        print(
            f"wpack: {self.verb}: {100 * done // max(total, 1)}%,"
            f" {units.size(done)} of {units.size(total)}, {units.size(rate)}/s,"
            f" {units.seconds((total - done) / rate)} left ({printable(what)})",
            file=self.stream,
            flush=True,
        )


@contextmanager
def _bar(verb: str, target: Console) -> Iterator[Watch]:
    from rich import progress as rich

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(bar_width=None),
        rich.DownloadColumn(binary_units=True),
        rich.TransferSpeedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=target, transient=True) as bar:
        task = bar.add_task(verb, total=None)

        def watch(done: int, total: int, what: str) -> None:
            bar.update(task, completed=done, total=total)

        yield watch


def _ignore(done: int, total: int, what: str) -> None:
    """Progress that nobody wants to see."""
