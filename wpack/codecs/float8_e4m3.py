"""``float8_e4m3``: eight bits (torch's ``float8_e4m3fn``) times a power of two that the
whole pool shares.

Four bits are the exponent and three the fraction (FP8 Formats for Deep Learning,
Micikevicius et al. 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import Alphabet, Decode, Quantiser, Stream
from ._arrays import (
    by_stretches,
    cast,
    dtype_name,
    largest,
    power_above,
    wide,
)
from ._grid import unit_of
from ._lookup import Lookup

#: The largest value.
_MOST = 448.0
#: The code of NaN, but for the sign.
_NAN = 0x7F
#: With a larger unit, a value would be infinite in float32.
_MOST_UNIT = 2.0**119


def _values() -> np.ndarray:
    """What each of the 256 codes stands for, float32; two of them are NaN."""
    codes = np.arange(128)
    exponents, fractions = codes >> 3, codes & 7
    tiny = exponents == 0
    made = np.ldexp(np.where(tiny, 0, 8) + fractions, np.maximum(exponents, 1) - 10)
    made[-1] = np.nan
    return np.concatenate([made, -made]).astype("<f4")


_VALUES = _values()


@dataclass(frozen=True)
class Float8E4m3(Quantiser):
    """Round to nearest, ties to even, after a division by the power of two that brings
    the pool's largest magnitude A into (224, 448], so that none is clipped; float64
    values are rounded to float32 first.

    An error is at most 2^-4 of its weight, or 2^-17 of A.
    """

    def alphabets(self, numel: int) -> tuple[Alphabet, ...]:
        """Unit, codes."""
        return Alphabet(1, 1 << 32), Alphabet(numel, 1 << 8)

    def encode(self, values: np.ndarray) -> tuple[Stream, ...]:
        """Unit, codes."""
        unit = self._unit(values)

        def coded(stretch: np.ndarray) -> np.ndarray:
            return _codes(stretch.astype("<f4") / np.float32(unit))

        return (
            Stream(np.array([unit], "<f4").view("<u4"), 1 << 32),
            Stream(by_stretches(coded, values, "uint8"), 1 << 8),
        )

    def decoder(self, parameters: Sequence[np.ndarray], numel: int) -> Decode:
        """Value times unit."""
        unit = unit_of(parameters[0])
        if unit > _MOST_UNIT:
            raise ValueError(f"the unit is {unit!r}, too large")
        look_up = Lookup(_VALUES * np.float32(unit))

        def decode(codes: np.ndarray, first: int, out: np.ndarray) -> None:
            magnitudes = codes & np.uint8(_NAN)
            if magnitudes.max(initial=0) == _NAN:
                at = first + int(np.argmax(magnitudes == _NAN))
                raise ValueError(f"stored value {at} is nan in float8_e4m3")
            look_up(codes, first, out)

        return decode

    def fake(self, values: Any) -> Any:
        """Cast, and back."""
        given = wide(values)
        unit = self._unit(given)

        def rounded(stretch: Any) -> Any:
            scaled = cast(stretch, "float32") / unit
            return cast(cast(scaled, "float8_e4m3fn"), "float32") * unit

        return by_stretches(rounded, given, dtype_name(values))

    def _unit(self, values: Any) -> float:
        """The power of two with A / unit in (224, 448]."""
        most = largest(values, self.name)
        return power_above(most / _MOST * (1 - 2.0**-50))


def _codes(values: np.ndarray) -> np.ndarray:
    """The codes of float32 values, none above 448, as ``u4``."""
    words = values.view("<u4")
    # Nearest in the place of float32's bits: ties to even, then the other bias.
    even = (words >> np.uint32(20)) & np.uint32(1)
    normal = (words & np.uint32(0x7FFFFFFF)) + (even + np.uint32(0x7FFFF))
    normal >>= np.uint32(20)
    normal -= np.uint32(120 << 3)
    magnitudes = np.abs(values)
    tiny = np.rint(magnitudes * np.float32(512)).astype("<u4")
    codes: np.ndarray = np.where(magnitudes < 2.0**-6, tiny, normal)
    codes |= (words >> np.uint32(24)) & np.uint32(0x80)
    return codes
