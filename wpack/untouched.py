"""Tensors that are read again after a network that may have written to them in place.

Nothing tells before whether it will: so the first ones are copied, and where nobody has
written to them, later ones need not be.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from .errors import TrainingError


class Untouched:
    """One place in a network.

    Args:
        mistake: Of what it is that was written to, and where: raised where nobody did
            at first, and somebody does later.
    """

    def __init__(self, mistake: Callable[[str], TrainingError]) -> None:
        self._mistake = mistake
        self._is_copied = True
        self._seen: list[tuple[Tensor, int]] = []

    def keep(self, tensor: Tensor) -> Tensor:
        """What the tensor is now, whatever becomes of it: a copy, or itself."""
        if tensor.is_inference():  # Nobody knows; only other such code could.
            return tensor.clone()
        self._seen.append((tensor, tensor._version))
        return tensor.clone() if self._is_copied else tensor

    def settle(self) -> None:
        """Everybody who could write to what was kept has been called.

        Raises:
            TrainingError: What was kept is not what it was.
        """
        is_written = any(tensor._version != was for tensor, was in self._seen)
        is_seen, self._seen = bool(self._seen), []
        if is_written and not self._is_copied:
            raise self._mistake("is written to in place, though not at first")
        if is_seen:
            self._is_copied = is_written
