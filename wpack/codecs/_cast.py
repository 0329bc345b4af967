"""Values stored as narrower floating point: what the casts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from ..tensors import DType, first_not_finite, from_float, to_float
from . import Alphabet, Decode, Quantiser, Stream
from ._arrays import by_stretches, cast, dtype_name, wide


class Cast(Quantiser):
    """A quantiser that rounds to a dtype, to nearest, ties to even; float64 values are
    rounded to float32 first."""

    #: Of two bytes.
    dtype: ClassVar[DType]

    def alphabets(self, numel: int) -> tuple[Alphabet, ...]:
        """The values' own bits."""
        return (Alphabet(numel, 1 << 16),)

    def encode(self, values: np.ndarray) -> tuple[Stream, ...]:
        """The values' own bits.

        Raises:
            ValueError: A value is too large for the dtype.
        """
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(values, "<f4")
        raw = from_float(single, self.dtype)
        self._check(first_not_finite(raw, self.dtype) is None, values)
        return (Stream(raw.view("<u2"), 1 << 16),)

    def decoder(self, parameters: Sequence[np.ndarray], numel: int) -> Decode:
        """The values of these bits."""

        def decode(codes: np.ndarray, first: int, out: np.ndarray) -> None:
            raw = codes.view(self.dtype.raw)
            refuse_not_finite(raw, self.dtype, first)
            out[...] = to_float(raw, self.dtype)

        return decode

    def fake(self, values: Any) -> Any:
        """Cast, and back."""
        made = by_stretches(self._cast, wide(values), dtype_name(values))
        self._check(bool(made.isfinite().all()), values)
        return made

    def _cast(self, values: Any) -> Any:
        return cast(cast(values, "float32"), self.name)

    def _check(self, fit: bool, values: Any) -> None:
        if not fit:
            most = float(abs(values).max())
            raise ValueError(f"{self.name} has no room for a magnitude of {most:.5g}")


def refuse_not_finite(raw: np.ndarray, dtype: DType, first: int) -> None:
    """Refuse what no codec stores, in raw elements out of a file.

    Args:
        first: Which of the stored values the first of them is.

    Raises:
        ValueError: One is NaN or infinite; the message says which.
    """
    at = first_not_finite(raw, dtype)
    if at is not None:
        value = float(to_float(raw[at : at + 1], dtype)[0])
        raise ValueError(f"stored value {first + at} is {value} in {dtype}")
