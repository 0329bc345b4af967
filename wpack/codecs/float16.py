"""``float16``: values as IEEE 754's binary16."""

from __future__ import annotations

from dataclasses import dataclass

from ..tensors import FLOAT16
from ._cast import Cast


@dataclass(frozen=True)
class Float16(Cast):
    """Round to nearest, ties to even.

    An error is at most 2^-11 of its weight, or 2^-25.  Weights of 65520 or more, which
    would become infinite, are refused.
    """

    dtype = FLOAT16
