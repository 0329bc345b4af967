"""What pooled weights are off by from what their pools make of them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class Residuals:
    """Constants that are added to working weights while their ties are not whole yet.

    Attributes:
        values: Pooled tensor → its residual, flat, of the dtype and on the device that
            it is trained in.
        share: How much of it is added.
    """

    def __init__(self, values: dict[str, Tensor]) -> None:
        self.values = values
        self.share = 0.0

    def apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Change dtype or device, as ``nn.Module.to`` does its tensors'."""
        self.values = {name: fn(value) for name, value in self.values.items()}
