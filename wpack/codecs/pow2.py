"""``pow2``: powers of two with a sign, or zero, so that multiplying shifts
(Incremental Network Quantization, Zhou et al. 2017).

The largest power is 2^n, n = floor(log2(4/3 · the largest magnitude)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import Alphabet, Decode, Quantiser, Stream
from ._arrays import bits, by_stretches, dtype_name, highest, largest, library, wide
from ._lookup import Lookup

#: The exponent n of the largest power lies in here; with those below it, all powers are
#: normal numbers of float32.
_EXPONENTS = range(-90, 128)
#: dtype of values → an integer of its size, the bits of its fraction, its bias.
_LAYOUTS = {4: ("int32", 23, 127), 8: ("int64", 52, 1023)}
#: INQ's groups: this share of the weights is fixed at the beginning of each quarter of
#: the steps.
_FIXED = (0.5, 0.75, 0.875, 1.0)


@dataclass(frozen=True)
class Pow2(Quantiser):
    """The nearest of 0, ±2^n, ±2^(n−1) …, in all 2^bits − 1 values.

    With p = 2^(bits − 1) − 1 powers: an error is at most 1/3 of its weight, or
    2^(n − p).

    Attributes:
        bits: Of a code, from 2 to 6.
        incremental: In training, whether a growing share of the weights, those of the
            largest magnitude first, is fixed to its coded value, as INQ does: 1/2,
            3/4, 7/8 and all, from the beginning of each quarter of the steps on.
    """

    bits: int = 4
    incremental: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: ``bits`` is out of its range.
        """
        if not 2 <= self.bits <= 6:
            raise ValueError(f"bits must be from 2 to 6, got {self.bits}")

    @property
    def _powers(self) -> int:
        return (1 << (self.bits - 1)) - 1

    def alphabets(self, numel: int) -> tuple[Alphabet, ...]:
        """n + 90, codes."""
        return Alphabet(1, 1 << 8), Alphabet(numel, 2 * self._powers + 1)

    def encode(self, values: np.ndarray) -> tuple[Stream, ...]:
        """n, codes: powers with their sign, from −2^n to 2^n."""
        given = wide(values)
        most = self._largest_exponent(given)

        def coded(stretch: np.ndarray) -> np.ndarray:
            made = self._nearest(stretch, most)
            places = np.frexp(made)[1] - (most - self._powers + 1)
            places[made == 0] = 0
            codes: np.ndarray = np.where(made < 0, -places, places) + self._powers
            return codes

        return (
            Stream(np.array([most - _EXPONENTS.start], "u1"), 1 << 8),
            Stream(by_stretches(coded, given, "uint8"), 2 * self._powers + 1),
        )

    def decoder(self, parameters: Sequence[np.ndarray], numel: int) -> Decode:
        """Powers of two.

        Raises:
            ValueError: n is out of its range.
        """
        most = _EXPONENTS.start + int(parameters[0][0])
        if most not in _EXPONENTS:
            raise ValueError(f"the largest power of two is 2^{most}, too large")
        powers = np.ldexp(1.0, np.arange(most - self._powers + 1, most + 1))
        table = np.concatenate([-powers[::-1], [0.0], powers])
        return Lookup(table.astype("<f4"))

    def fake(self, values: Any) -> Any:
        """The same arithmetic, in torch."""
        given = wide(values)
        most = self._largest_exponent(given)

        def nearest(stretch: Any) -> Any:
            return self._nearest(stretch, most)

        return by_stretches(nearest, given, dtype_name(values))

    def fixed(self, latents: Any, progress: float) -> Any | None:
        """INQ's groups, where ``incremental`` asks for them."""
        if not self.incremental:
            return None
        share = _FIXED[min(int(progress * len(_FIXED)), len(_FIXED) - 1)]
        return highest(abs(wide(latents)), math.ceil(share * len(latents)))

    def _largest_exponent(self, values: Any) -> int:
        """n."""
        most = largest(values, self.name)
        fraction, exponent = math.frexp(most)
        found = exponent - (fraction < 0.75) if most else _EXPONENTS.start
        return max(found, _EXPONENTS.start)

    def _nearest(self, values: Any, most: int) -> Any:
        """The nearest level of each value, by rounding away all bits of its fraction;
        halfway between two is the larger."""
        xp = library(values)
        name, fraction, bias = _LAYOUTS[values.itemsize]
        least = most - self._powers + 1
        whole = bits(abs(values), name) + (1 << (fraction - 1))
        powers = (whole >> fraction).clip(least + bias) << fraction
        made = bits(powers, f"float{8 * values.itemsize}")
        made = xp.where(abs(values) < 2.0 ** (least - 1), 0.0 * made, made)
        return xp.where(values < 0, -made, made) + 0.0
