"""What a training leaves behind in its run's folder: states to resume from, and a log
of what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import StorageError
from .events import Event, Note, Saved
from .runs import Run
from .training import Training


class Keeping:
    """A run that is kept, or one that has no folder and keeps nothing.

    Args:
        every: Steps between states.
        steps: Of the whole run.
    """

    def __init__(self, run: Run | None, every: int, steps: int) -> None:
        self.run = run
        self._every, self._steps = every, steps
        self._saved = self._tried = -1
        self._is_logged = True

    @property
    def where(self) -> Path | None:
        """The run's folder."""
        return self.run.folder if self.run else None

    @property
    def kept(self) -> str:
        """What is left when training cannot go on, as the end of a sentence."""
        return f"; the state of step {self._saved} is kept" if self._saved >= 0 else ""

    @property
    def way_back(self) -> str:
        """How to go on after a stop."""
        return "--resume auto goes on from there" if self.run else "Nothing is saved"

    def resume(self, step: int) -> None:
        """Take a state as saved: the run went back to it."""
        self._saved = self._tried = step

    def is_due(self, step: int) -> bool:
        """Whether the state after a step is to be saved, and that was not tried yet."""
        at_border = step > 0 and (step % self._every == 0 or step == self._steps)
        return self.run is not None and at_border and step != self._tried

    def save(
        self, training: Training, values: Mapping[str, Any], *, must: bool
    ) -> Iterator[Event]:
        """Save a state, unless it is saved; a failure is told and outlived.

        Args:
            values: What belongs to the state beside the training's own, as JSON values.
            must: Nothing comes after: a failure is none to be outlived, nor is one
                after the last step.

        Raises:
            StorageError: It failed.
        """
        step = training.step
        if self.run is None or step == self._saved:
            return
        self._tried = step
        try:
            path = self.run.save(
                step, {**training.values(), **values}, training.state()
            )
        except StorageError as error:
            if must or step == self._steps:
                raise
            yield from self.tell(Note(f"{error}; training goes on{self.kept}"))
        else:
            self._saved = step
            yield from self.tell(Saved(step, path))

    def tell(self, event: Event) -> Iterator[Event]:
        """Log an event, then yield it; a log that cannot be written is told of, once
        until it can."""
        try:
            if self.run is not None:
                self.run.log(event.record())
            self._is_logged = True
        except StorageError as error:
            if self._is_logged:
                yield Note(str(error))
            self._is_logged = False
        yield event

    def close(self) -> None:
        """Give up the folder."""
        if self.run is not None:
            self.run.close()
