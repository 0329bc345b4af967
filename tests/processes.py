"""Real processes that start warm: forked from one that has imported torch.

Each runs a function of :mod:`tests.jobs`, with stdout and stderr in files.  It costs
some hundredths of a second, can be sent signals or be killed, and changes nothing in
the process of the tests, which has threads and so had better not fork by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CONTEXT = multiprocessing.get_context("forkserver")
# The sample's data come with a library that takes long to import; without it there is
# no sample to train.
CONTEXT.set_forkserver_preload(["tests.jobs", "samples.digits.task"])
#: Seconds after which a process is killed, and the test fails.
PATIENCE = 120


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Its exit status, or minus the number of the signal that killed it.
    """

    status: int
    out: str
    err: str


class Job:
    """A function at work in a process of its own.

    Args:
        folder: For what it prints; the process also has it for its current folder.
        arguments: Anything that can be pickled.
    """

    def __init__(
        self, folder: Path, function: Callable[..., object], *arguments: Any
    ) -> None:
        self._folder = folder
        self._process = CONTEXT.Process(
            target=_work, args=(str(folder), function, arguments)
        )
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        pid = self._process.pid
        assert pid is not None
        with suppress(ProcessLookupError):
            if self._process.is_alive():
                os.kill(pid, number)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """Wait for its end."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        status = self._process.exitcode
        self._process.close()
        assert status is not None
        out, err = ((self._folder / name).read_text() for name in ("out", "err"))
        return Ended(status, out, err)


def ended(folder: Path, function: Callable[..., object], *arguments: Any) -> Ended:
    """How a function ends in a process of its own."""
    folder.mkdir(exist_ok=True)
    return Job(folder, function, *arguments).wait()


def _work(
    folder: str, function: Callable[..., object], arguments: tuple[Any, ...]
) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A shell that starts the suite in the background has interrupts ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    for fd, name in ((1, "out"), (2, "err")):
        opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(opened, fd)
        os.close(opened)
    torch.set_num_threads(1)  # or it could not be forked any more
    function(*arguments)
