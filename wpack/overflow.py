"""Steps of float16 that are lost, one after the other."""

from __future__ import annotations

from torch.amp import GradScaler

#: In a row, until training is hopeless.  Each halves the scale of the loss: after 40,
#: from 65,536 on, even gradients of 10¹² would have been finite.
MOST = 40
HINT = "Set finetune.precision to bfloat16 or float32"


class Overflow:
    """Watches the scale of the loss: it falls at each step whose gradients overflow.

    Args:
        scaler: Disabled unless training is in float16.
    """

    def __init__(self, scaler: GradScaler) -> None:
        self._scaler = scaler
        self._seen: tuple[int, float] | None = None
        self._lost = 0

    def found(self, step: int) -> str:
        """Why training is hopeless after a step, if it is; waits for the device."""
        if (lost := self.lost(step)) < MOST:
            return ""
        return f"gradients overflow float16, {lost} steps in a row up to step {step}"

    def lost(self, step: int) -> int:
        """How many steps up to this one were lost in a row, as far as that is known;
        waits for the device."""
        if not self._scaler.is_enabled():
            return 0
        scale = self._scaler.get_scale()
        if self._seen is not None:
            since, before = self._seen
            taken = step - since
            falls = scale <= before * self._scaler.get_backoff_factor() ** taken
            self._lost = self._lost + taken if falls else 0
        self._seen = step, scale
        return self._lost
