"""``bfloat16``: the upper half of a float32."""

from __future__ import annotations

from dataclasses import dataclass

from ..tensors import BFLOAT16
from ._cast import Cast


@dataclass(frozen=True)
class Bfloat16(Cast):
    """Round to nearest, ties to even.

    An error is at most 2^-8 of its weight, or 2^-134.  Weights that would become
    infinite, from 3.3961e38 on, are refused.
    """

    dtype = BFLOAT16
