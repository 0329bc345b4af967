"""``prune``: a share of the weights is zero and not stored, but for a bit each.

Which ones is said by their magnitude (Deep Compression, Han et al. 2016) or by what
removing one costs, ½ · F · w² (Optimal Brain Damage, LeCun et al. 1990, with the
diagonal Fisher information F for its second derivatives).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from . import Selector
from ._arrays import highest, library, wide

_MEASURES = ("magnitude", "fisher")


@dataclass(frozen=True)
class Prune(Selector):
    """The weights that matter least are zero; the others are stored as they are.

    Of two that matter the same, the later one is pruned.

    Attributes:
        share: Of the weights that are zero, from 0 up to, not including, 1; rounded
            down to whole weights.
        by: What says which: ``magnitude``, or ``fisher``.
        ramp: In training, the share of the steps over which the share of zeros grows
            from 0, fast at first: share · (1 − (1 − t)³) (Zhu and Gupta 2017).
    """

    share: float = 0.9
    by: str = "magnitude"
    ramp: float = 0.5

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: A field is out of its range.
        """
        if not 0 <= self.share < 1:
            raise ValueError(
                f"share must be from 0 up to, not including, 1, got {self.share}"
            )
        if self.by not in _MEASURES:
            raise ValueError(f"by must be magnitude or fisher, got {self.by!r:.80}")
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp must be from 0 to 1, got {self.ramp}")

    @property
    def needs_importance(self) -> bool:
        """By Fisher information."""
        return self.by == "fisher"

    def survivors(self, numel: int) -> int:
        """All but the share, which is read as the decimal number that it was written
        as: 0.29 of 100 are 29."""
        return numel - int(Decimal(repr(self.share)) * numel)

    def select(self, values: Any, importance: Any | None = None) -> Any:
        """Those that matter most.

        Raises:
            ValueError: ``by`` is ``fisher``, and ``importance`` is not known.
        """
        keys = abs(wide(values))
        if self.by == "fisher":
            if importance is None:
                raise ValueError(
                    "by: fisher needs the weights' Fisher information, which is"
                    " measured on a task: use finetune, or by: magnitude"
                )
            # Not squared: a square may overflow.
            keys = keys * library(values).sqrt(wide(importance))
        return highest(keys, self.survivors(len(keys)))

    def during(self, progress: float) -> Prune:
        """With the share that the ramp has reached."""
        if progress >= self.ramp:
            return self
        left = 1 - progress / self.ramp
        return replace(self, share=float(self.share * (1 - left**3)))
