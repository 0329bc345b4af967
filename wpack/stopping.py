"""Stopping long work between two steps of it.

The library installs no signal handlers.  Whoever does hands in a function that is asked
in every loop, and answers with an exit code once the work has to end.
"""

from __future__ import annotations

from collections.abc import Callable

from .errors import WpackError

#: 0 = go on; otherwise the exit code to stop with: 130 after SIGINT, 143 after SIGTERM.
Stop = Callable[[], int]


class Interrupted(WpackError):
    """The work was asked to stop, and stopped where it can be resumed.

    Args:
        exit_code: What ``stop`` answered.
    """

    def __init__(
        self, what: str, *, exit_code: int, where: object = None, hint: str = ""
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.exit_code = exit_code


class Elsewhere(WpackError):
    """The cause of what another process has raised, and has told of."""


def never() -> int:
    """The :data:`Stop` that always goes on."""
    return 0
