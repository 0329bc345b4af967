"""What tests have other processes do; see :mod:`tests.processes`."""

from __future__ import annotations

import importlib
import math
import os
import pkgutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from torch import nn

import wpack
from tests.tiny import CLASSES, Points
from wpack import container, durable, feed, finetune, states
from wpack.__main__ import main
from wpack.tasks import Task

# What else there is to import, so that it is before a fork and not after: the last is
# imported by the first optimiser that is made.
for _found in pkgutil.walk_packages(wpack.__path__, "wpack."):
    importlib.import_module(_found.name)
importlib.import_module("torch._dynamo")

#: A task for ``--task`` and specs.
points = Points()


class Exploding(Points):
    """A task whose loss is not a number at the seventh step."""

    steps = 0

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Any:
        """The task's own, six times."""
        self.steps += 1
        return super().loss(outputs, batch) * (math.nan if self.steps == 7 else 1)


exploding = Exploding()


class Plain(Points):
    """A task whose losses do not depend on which examples are computed together, or on
    who draws what: without batch norm and dropout, but with augmentation."""

    def model(self) -> nn.Module:
        """Two layers."""
        return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, CLASSES))


plain = Plain()

#: A place in what a command does, as the function that comes by it.
PLACES: dict[str, tuple[Any, str]] = {
    "starting": (finetune, "fingerprint"),
    "training": (Task, "loss"),
    "evaluation": (Task, "metrics"),
    "saving": (states, "_write_file"),
    "calibration": (feed, "call_model"),
    "finishing": (container, "write"),
    "writing": (durable.Output, "write_at"),
}
#: A place, which time that it is come by, from 1, and a signal to be sent there.
Moment = tuple[str, int, int]


def unflushed(fd: int) -> None:
    """Stands in for ``os.fsync``, which is for power cuts and would take most of the
    time of a short run."""


def command(*arguments: str) -> None:
    """``wpack`` with these arguments."""
    os.fsync = unflushed
    sys.argv[1:] = arguments
    main()


def slowed(seconds: float, *arguments: str) -> None:
    """The command, which takes that much longer for each step."""
    _before("training", lambda _: time.sleep(seconds))
    command(*arguments)


def signalled(moments: Sequence[Moment], *arguments: str) -> None:
    """The command, with signals sent to its process at these moments."""
    seen: Counter[str] = Counter()

    def come_by(place: str) -> None:
        seen[place] += 1
        for where, number_of_times, number in moments:
            if (where, number_of_times) == (place, seen[place]):
                os.kill(os.getpid(), number)

    for place in PLACES:
        _before(place, come_by)
    command(*arguments)


def killed_at(place: str, number_of_times: int) -> None:
    """Have this process killed when it comes to a place."""
    seen: Counter[str] = Counter()

    def come_by(where: str) -> None:
        seen[where] += 1
        if seen[where] == number_of_times:
            os.kill(os.getpid(), signal.SIGKILL)

    _before(place, come_by)


def announced(place: str, number_of_times: int, pipe: Any, *arguments: str) -> None:
    """The command, which sends word through a pipe when it comes to a place."""
    seen: Counter[str] = Counter()

    def come_by(place: str) -> None:
        seen[place] += 1
        if seen[place] == number_of_times:
            pipe.send(place)

    _before(place, come_by)
    command(*arguments)


def killed_at_call(at: int, *arguments: str) -> None:
    """The command, killed at one of its calls of a function; 0 prints, on stderr, how
    many there are before the result is written."""
    count = 0

    def called(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    if not at:
        _before("finishing", lambda _: print("calls:", count, file=sys.stderr))
    sys.setprofile(called)
    command(*arguments)


def _before(place: str, come_by: Callable[[str], object]) -> None:
    """Have something done each time before the function of a place is called."""
    owner, name = PLACES[place]
    real = getattr(owner, name)

    def function(*args: Any, **kwargs: Any) -> Any:
        come_by(place)
        return real(*args, **kwargs)

    setattr(owner, name, function)
