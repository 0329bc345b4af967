"""Whole numbers times a scale for each block of values: what the linear, binary and
ternary codecs share.

A scale is a float16 times a power of two that all blocks have in common, the *unit*, so
that pools of any magnitude keep a float16's precision, and that whole numbers times
scales are exact in float32.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..tensors import BLOCK
from . import Alphabet, Decode, Quantiser, Stream
from ._arrays import (
    LARGEST,
    LOWEST,
    bits,
    cast,
    dtype_name,
    in_rows,
    largest,
    library,
    power_above,
    stretches,
    wide,
)

#: Values decoded at a time, so that they are still in a cache when they are scaled.
_NEAR = 1 << 16
#: The smallest scale over its unit.
_SMALLEST = 2.0**-24


class Grid(Quantiser):
    """A quantiser to whole numbers times scales.

    No dataclass, so that its field's place is each codec's to say.

    Attributes:
        block: Weights that share a scale: a power of two from 8 to 2^20.
    """

    block: int

    @property
    @abstractmethod
    def wholes(self) -> range:
        """The whole numbers that codes 0, 1, 2 … stand for."""

    @abstractmethod
    def fit(self, rows: Any, numels: Any) -> tuple[Any, Any]:
        """Scales and whole numbers of blocks.

        Args:
            rows: ``(blocks, block)`` of numpy or torch, float32 or float64, values over
                the unit: none is larger than the last of ``wholes``.
            numels: ``(blocks,)``, of the same dtype: how many values each has; zeros
                follow.

        Returns:
            ``(blocks,)``, of float16 values and not negative, and ``(blocks, block)``,
            both of ``rows``' dtype.
        """

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: ``block`` is no number of weights that can share a scale.
        """
        block = self.block
        if not 8 <= block <= BLOCK or block & (block - 1):
            raise ValueError(
                f"block must be a power of two from 8 to {BLOCK}, got {block}"
            )

    def alphabets(self, numel: int) -> tuple[Alphabet, ...]:
        """Unit, scales, codes."""
        scales = Alphabet(-(-numel // self.block), 1 << 16)
        return Alphabet(1, 1 << 32), scales, Alphabet(numel, len(self.wholes))

    def encode(self, values: np.ndarray) -> tuple[Stream, ...]:
        """Unit, scales, codes."""
        unit = self._unit(values)
        halves = np.empty(-(-len(values) // self.block), "<f2")
        codes = np.empty(len(values), "u1")
        for begin, scales, wholes in self._fitted(values, unit):
            at = begin // self.block
            halves[at : at + len(scales)] = scales
            found = (wholes.reshape(-1) - self.wholes.start) / self.wholes.step
            codes[begin : begin + len(found)] = found[: len(values) - begin]
        return (
            Stream(np.array([unit], "<f4").view("<u4"), 1 << 32),
            Stream(halves.view("<u2"), 1 << 16),
            Stream(codes, len(self.wholes)),
        )

    def decoder(self, parameters: Sequence[np.ndarray], numel: int) -> Decode:
        """Whole number times scale."""
        scales = scales_of(parameters, self.wholes[-1])
        block = self.block
        start, step = np.uint8(self.wholes.start % 256), np.uint8(self.wholes.step)

        def decode(codes: np.ndarray, first: int, out: np.ndarray) -> None:
            for begin in range(0, len(out), _NEAR):
                stretch = out[begin : begin + _NEAR]
                # Modulo 256: as signed bytes these are the whole numbers.
                stretch[...] = (codes[begin : begin + _NEAR] * step + start).view("i1")
            at, rows = first // block, len(out) // block
            whole = rows * block
            out[:whole].reshape(rows, block)[...] *= scales[at : at + rows, None]
            if whole < len(out):
                out[whole:] *= scales[at + rows]

        return decode

    def fake(self, values: Any) -> Any:
        """What decoding gives for ``values``: the same arithmetic, in torch."""
        given = wide(values)
        unit = self._unit(given)
        made = library(values).empty_like(given)
        for begin, scales, wholes in self._fitted(given, unit):
            stretch = made[begin : begin + wholes.numel()]
            # Plus 0, since a rounded -0.3 is -0 and no code stands for that.
            found = (wholes * (scales * unit)[:, None] + 0.0).reshape(-1)
            stretch[...] = found[: len(stretch)]
        return made.to(values.dtype)

    def _unit(self, values: Any) -> float:
        return power_above(largest(values, self.name) / self.wholes[-1])

    def _fitted(self, values: Any, unit: float) -> Iterator[tuple[int, Any, Any]]:
        """First value, scales and whole numbers of stretches of blocks."""
        for stretch in stretches(values, self.block):
            rows = in_rows(values[stretch] / unit, self.block)
            numels = library(values).full_like(rows[:, 0], self.block)
            numels[-1] -= stretch.start + len(rows) * self.block - stretch.stop
            scales, wholes = self.fit(rows, numels)
            yield stretch.start, scales.clip(_SMALLEST), wholes


def scales_of(parameters: Sequence[np.ndarray], most: int) -> np.ndarray:
    """Scales, ``(blocks,)`` float32, from unit and scales of a file.

    Args:
        most: The largest whole number that they are multiplied with.

    Raises:
        ValueError: The unit is no power of two, a scale is no positive number, or
            multiplied with ``most`` is beyond what codecs store.
    """
    unit = unit_of(parameters[0])
    halves = parameters[1].view("<f2")
    sound = np.isfinite(halves) & (halves > 0)
    if not sound.all():
        bad = int(np.flatnonzero(~sound)[0])
        raise ValueError(f"the scale of block {bad} is {float(halves[bad])!r}")
    if len(halves) and float(halves.max()) * unit * most > LARGEST:
        raise ValueError(f"a scale is {float(halves.max()) * unit:.3g}, too large")
    scales: np.ndarray = halves.astype("<f4") * np.float32(unit)
    return scales


def unit_of(parameter: np.ndarray) -> float:
    """The unit of a file.

    Raises:
        ValueError: It is no power of two from 2^-100 to 2^127.
    """
    unit = float(parameter.view("<f4")[0])
    if math.frexp(unit)[0] != 0.5 or unit < 2.0**LOWEST:
        raise ValueError(f"the unit is {unit!r}, no power of two from 2^-100 to 2^127")
    return unit


def nearest_half(values: Any) -> Any:
    """The float16 nearest to each value, in the values' dtype; by way of float32, as
    torch rounds float64."""
    return cast(cast(cast(values, "float32"), "float16"), dtype_name(values))


def half_below(values: Any) -> Any:
    """The largest float16 that is not above each value, none of them negative, in the
    values' dtype."""
    name = dtype_name(values)
    near = cast(values, "float16")
    above = cast(cast(near, name) > values, "int16")
    return cast(bits(bits(near, "int16") - above, "float16"), name)
