"""``kmeans``: a codebook, and for each weight the number of its value in there
(Deep Compression, Han et al. 2016).

The codebook has the least squared error that could be found (:mod:`._codebook`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import Alphabet, Decode, Quantiser, Stream
from ._arrays import (
    LARGEST,
    bits,
    by_stretches,
    cast,
    dtype_name,
    largest,
    library,
    stretches,
    wide,
)
from ._codebook import best_codebook, borders
from ._lookup import Lookup


@dataclass(frozen=True)
class Kmeans(Quantiser):
    """A codebook of 2^bits float32 values.

    Each weight becomes a nearest value of the codebook, so no error is larger than the
    distance between the smallest and the largest weight.  Up to 2^bits distinct float32
    values come back as they were.

    In training, the weights of one value stay equal: each takes the sum of all their
    gradients, which is the gradient of the value in the codebook.

    Attributes:
        bits: Of a code, from 1 to 8.
    """

    bits: int = 5

    def __post_init__(self) -> None:
        """
        Raises:
            ValueError: ``bits`` is out of its range.
        """
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits must be from 1 to 8, got {self.bits}")

    def alphabets(self, numel: int) -> tuple[Alphabet, ...]:
        """Codebook, codes."""
        size = 1 << self.bits
        return Alphabet(size, 1 << 32), Alphabet(numel, size)

    def encode(self, values: np.ndarray) -> tuple[Stream, ...]:
        """Codebook, in ascending order, the last value repeated where there are fewer;
        codes."""
        largest(values, self.name)
        values = _single(values)
        book = _distinct(values, 1 << self.bits)
        if book is None:
            book = best_codebook(np.sort(values), 1 << self.bits)
        if not len(book):
            book = np.zeros(1, "<f4")
        book = np.pad(book, (0, (1 << self.bits) - len(book)), "edge").astype("<f4")
        codes = by_stretches(_finder(borders(book)), values, "uint8")
        return Stream(book.view("<u4"), 1 << 32), Stream(codes, 1 << self.bits)

    def decoder(self, parameters: Sequence[np.ndarray], numel: int) -> Decode:
        """Values of the codebook.

        Raises:
            ValueError: One of them is not finite, or beyond what codecs store.
        """
        book = parameters[0].view("<f4")
        if not (np.abs(book) <= LARGEST).all():
            bad = int(np.flatnonzero(~(np.abs(book) <= LARGEST))[0])
            raise ValueError(f"value {bad} of the codebook is {float(book[bad])!r}")
        return Lookup(book)

    def fake(self, values: Any) -> Any:
        """Values of the codebook: quickly where these are shared already."""
        single = _single(values)
        if _distinct(single, 1 << self.bits) is None:
            return super().fake(values)
        largest(single, self.name)
        return cast(single, dtype_name(values))

    def shared_gradient(self, latents: Any, gradient: Any) -> Any:
        """The gradient of a value in the codebook, for each of its weights; of weights
        that share no values yet, each its own."""
        single = _single(latents)
        distinct = _distinct(single, 1 << self.bits)
        if distinct is None:
            return gradient
        xp, place = library(latents), _finder(distinct, exactly=False)
        # In float64: a value may have millions of members.
        sums = cast(distinct * 0, "float64")
        for stretch in stretches(single):
            places, parts = place(single[stretch]), cast(gradient[stretch], "float64")
            sums += xp.bincount(places, parts, len(distinct))
        sums = cast(sums, dtype_name(gradient))

        def shared(stretch: Any) -> Any:
            return sums[place(stretch)]

        return by_stretches(shared, single, dtype_name(gradient))


def _single(values: Any) -> Any:
    """Values as float32; 0 for -0."""
    return cast(wide(values), "float32") + 0.0


def _distinct(values: Any, most: int) -> Any | None:
    """The distinct float32 values in ascending order; None if there are more than
    ``most``, or a NaN.  One pass over many values, and no sort of them."""
    xp = library(values)
    found, find = values[:0], _finder(values[:0])
    for stretch in stretches(values):
        missing = part = values[stretch]
        while True:
            if len(found):
                at = find(part).clip(0, len(found) - 1)
                missing = part[found[at] != part]
            if not len(missing):
                break
            grown = xp.unique(xp.concatenate([found, missing]))
            if not len(found) < len(grown) <= most:
                return None
            found, find = grown, _finder(grown, exactly=False)
    return found


def _finder(book: Any, exactly: bool = True) -> Callable[[Any], Any]:
    """What says how many values of a book are below each value, as ``searchsorted``
    does, in a fraction of its time.

    Args:
        book: float32, ascending.
        exactly: False: of values that are in the book, at least; this is quicker.
    """
    xp = library(book)
    tops = np.arange(1 << 16, dtype="<u4") << 16
    first, last = (
        np.searchsorted(book if xp is np else book.cpu().numpy(), ends.view("<f4"))
        for ends in (tops, tops | 0xFFFF)
    )
    # The upper half of a float32 says it, but where values of the book have the same.
    known = np.abs(last - first) <= (0 if exactly else 1)
    table = np.where(known, np.minimum(first, last), -1).astype("i4")
    if xp is not np:
        table = book.new_tensor(table, dtype=xp.int32)

    def find(values: Any) -> Any:
        found = table[(bits(values, "int32") >> 16) & 0xFFFF]
        unknown = found < 0
        found[unknown] = cast(xp.searchsorted(book, values[unknown]), "int32")
        return found

    return find
