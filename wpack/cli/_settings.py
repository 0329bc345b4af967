"""What every command is told, and the two streams it talks to."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..errors import StorageError
from ..report.names import printable

#: Notes that are shown unless ``-v`` asks for all.
SHOWN_NOTES = 8


class Report(Protocol):
    """What :mod:`wpack.report` makes: a document, and something rich can print."""

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""


@dataclass
class Settings:
    """The shared options' values; :mod:`wpack.cli._options` fills them in.

    Attributes:
        given_limits: Field of :class:`~wpack.limits.Limits` → what was given for it.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    debug: bool = False
    progress: bool = True
    color: bool = True
    given_limits: dict[str, int] = field(default_factory=dict)

    def limits(self) -> dict[str, Any]:
        """The argument ``limits`` of an api function, if any limit was given."""
        from ..limits import Limits

        return {"limits": Limits(**self.given_limits)} if self.given_limits else {}

    def show(self, report: Report) -> None:
        """Print a command's result on stdout, for people or as JSON."""
        from ..report import document, screen

        if self.json:
            self.write(document.to_text(report.document()) + "\n")
        else:
            self.write(screen.text(report, sys.stdout, color=self.color))

    def write(self, text: str) -> None:
        """Print text on stdout.

        Raises:
            StorageError: stdout is full or closed.
            BrokenPipeError: Nobody reads it any more.
        """
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            what = f"cannot be written: {error.strerror}"
            raise StorageError(what, where="stdout") from error

    def notes(self, notes: Iterable[str]) -> None:
        """Tell what the user should know but did not ask, on stderr."""
        found = list(notes)
        shown = found if self.verbose else found[:SHOWN_NOTES]
        for note in shown:
            self.say(f"note: {printable(note)}")
        if len(shown) < len(found):
            self.say(f"note: and {len(found) - len(shown)} more (-v shows all)")

    def say(self, line: str) -> None:
        """One line on stderr, unless ``--quiet``."""
        if not self.quiet:
            print(f"wpack: {line}", file=sys.stderr, flush=True)

    def watch(
        self, verb: str
    ) -> AbstractContextManager[Callable[[int, int, str], object]]:
        """The progress of ``verb`` in bytes, on stderr."""
        from ..report import progress

        return progress.of_bytes(
            verb,
            sys.stderr,
            shown=self.progress and not self.quiet,
            color=self.color,
        )
