"""A run folder that the first of several processes writes, and the others go by."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from . import states
from .processes import Processes
from .runs import Run, State


class FollowedRun(Run):
    """As :class:`~wpack.runs.Run`, in each of several processes that see the same
    files; all of them call its methods together.

    Args:
        processes: All of them.
        options: As of :class:`~wpack.runs.Run`.

    Raises:
        UsageError: As :class:`~wpack.runs.Run`, in all processes.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        processes: Processes,
        resume: bool = False,
        **options: Any,
    ) -> None:
        self.processes = processes
        # What the others know of a run; the first looks into the folder as well.
        self.folder, self.resume = Path(folder), resume
        self.notes: list[str] = []
        self._journal = None
        begin = super().__init__
        processes.by_first(lambda: begin(folder, resume=resume, **options))

    def start(
        self,
        config: Mapping[str, Any],
        bound: Collection[str] = (),
        steps: int | None = None,
    ) -> State | None:
        """As :meth:`wpack.runs.Run.start`; all get the state that the first finds."""
        found: list[State | None] = []
        begin = super().start

        def first() -> int | None:
            found.append(begin(config, bound, steps))
            return found[0].step if found[0] else None

        step = self.processes.by_first(first)
        if found or step is None:
            return found[0] if found else None
        return State(step, *states.read(self._state(step)))

    def save(
        self,
        step: int,
        values: Mapping[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
    ) -> Path:
        """As :meth:`wpack.runs.Run.save`, by the first; the others wait."""
        save = super().save
        return self.processes.by_first(lambda: save(step, values, tensors))
