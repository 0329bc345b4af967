"""What can go wrong, one class a reason.

Every message says where, what and how to fix it, in that order, in at most three
lines.  ``exit_code`` is the command line's exit status for the class.
"""

from __future__ import annotations

from collections.abc import Sequence


class WpackError(Exception):
    """Base of every error wpack raises on purpose.

    Args:
        what: The rule that was broken and what came instead.
        where: The place: a path, ``file:line:column``, a tensor's name.
        hint: How to fix it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: object = None, hint: str = "") -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        place = "" if self.where is None else f"{self.where}: "
        return f"{place}{self.what}" + (f". {self.hint}" if self.hint else "")


class UsageError(WpackError):
    """The command's arguments do not fit together, or its output may not be written."""

    exit_code = 2


class SpecError(WpackError):
    """The pool spec is wrong; ``problems`` lists every mistake found in it.

    Args:
        problems: One message a mistake, each beginning ``file:line:column``.
    """

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class PlanError(WpackError):
    """The spec is well formed but cannot be carried out on this checkpoint."""

    exit_code = 2


class CheckpointError(WpackError):
    """The input checkpoint cannot be read, or is not what it claims to be."""


class FormatError(WpackError):
    """The bytes of a ``.wpool`` or ``.safetensors`` file break the format's rules."""


class StorageError(WpackError):
    """The operating system refused to read, write or map."""


class TrainingError(WpackError):
    """Fine-tuning cannot go on: its loss, its data, its task or its run folder."""
