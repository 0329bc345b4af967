"""Array code that numpy and torch run alike, to the last bit: what a training step sees
is what a file will hold.

Only what IEEE 754 or an integer defines is used; sums are made by :func:`row_sums`,
since the two libraries add in orders of their own.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

#: The largest magnitude that codecs other than casts store; float32 has more, so that
#: nothing made of such a value overflows.
LARGEST = 2.0**127
#: The least exponent of a unit.
LOWEST = -100

#: Values worked on at a time: on a CPU, what its caches hold.
_NEAR, _FAR = 1 << 16, 1 << 24


def library(values: Any) -> Any:
    """numpy or torch, whichever ``values`` belong to.  torch takes seconds to import,
    so that no file of codecs does: where there is a tensor, it is there."""
    return np if isinstance(values, np.ndarray) else sys.modules["torch"]


def cast(values: Any, dtype: str) -> Any:
    """Values of another dtype, rounded to nearest, ties to even."""
    if isinstance(values, np.ndarray):
        return values.astype(dtype, copy=False)
    return values.to(getattr(library(values), dtype))


def dtype_name(values: Any) -> str:
    """What :func:`cast` calls the dtype of ``values``."""
    return str(values.dtype).rpartition(".")[2]


def bits(values: Any, dtype: str) -> Any:
    """The same memory as integers, or back."""
    if isinstance(values, np.ndarray):
        return values.view(dtype)
    return values.view(getattr(library(values), dtype))


def wide(values: Any) -> Any:
    """Values as they are computed with, float64 as they are and others in float32,
    without a gradient."""
    if isinstance(values, np.ndarray):
        return values if values.itemsize == 8 else values.astype("f4", copy=False)
    return values.detach() if values.itemsize == 8 else values.detach().float()


def stretches(values: Any, whole: int = 1) -> Iterator[slice]:
    """Consecutive stretches of values, as long as it is good to work on at a time.

    Args:
        whole: Each but the last is a multiple of this power of two long.
    """
    near = isinstance(values, np.ndarray) or values.device.type == "cpu"
    size = max(_NEAR if near else _FAR, whole)
    for begin in range(0, len(values), size):
        yield slice(begin, min(begin + size, len(values)))


def by_stretches(make: Callable[[Any], Any], values: Any, dtype: str) -> Any:
    """``make(values)``, which looks at one value at a time, of a dtype."""
    if isinstance(values, np.ndarray):
        made: Any = np.empty(len(values), dtype)
    else:
        made = values.new_empty(len(values), dtype=getattr(library(values), dtype))
    for stretch in stretches(values):
        made[stretch] = make(values[stretch])
    return made


def in_rows(values: Any, width: int) -> Any:
    """Values in rows of ``width``, zeros after the last."""
    missing = -len(values) % width
    if missing:
        nothing = library(values).zeros_like(values[:1]).repeat(missing)
        values = library(values).concatenate([values, nothing])
    return values.reshape(-1, width)


def row_sums(rows: Any) -> Any:
    """The sums of rows of a power of two of values, ``(rows,)``: of halves added to
    each other until one is left."""
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return rows[:, 0]


def row_most(rows: Any) -> Any:
    """The largest magnitude in each row, ``(rows,)``."""
    magnitudes = abs(rows)
    if isinstance(rows, np.ndarray):
        return magnitudes.max(axis=1)
    return magnitudes.amax(dim=1)


def largest(values: Any, name: str) -> float:
    """The largest magnitude, 0 of no values.

    Raises:
        ValueError: It is above :data:`LARGEST`.
    """
    found = float(abs(values).max()) if len(values) else 0.0
    if found > LARGEST:
        raise ValueError(
            f"{name} stores no magnitude above 2^127 ≈ {LARGEST:.3g}, and one is"
            f" {found:.3g}"
        )
    return found


def power_above(magnitude: float) -> float:
    """The power of two u with ``magnitude / u`` in [1/2, 1), but from 2^-100 to 2^127:
    weights below that are as good as nothing."""
    exponent = math.frexp(magnitude)[1] if magnitude else LOWEST
    return math.ldexp(1.0, min(max(exponent, LOWEST), 127))


def highest(keys: Any, count: int) -> Any:
    """Which ``count`` keys are highest; of equal ones, the first.

    Args:
        keys: 1-D, float32 or float64, none of them negative (nor -0) or NaN.

    Returns:
        bool, of the shape and the library of ``keys``.
    """
    if count in (0, len(keys)):
        return keys >= 0 if count else keys < 0
    words = bits(keys, f"int{8 * keys.itemsize}")
    last, left = _highest_word(words, count)

    def chosen(stretch: Any) -> Any:
        nonlocal left
        ties = stretch == last
        number = int(ties.sum())
        if number > left:
            ties &= ties.cumsum(0) <= left
        left = max(0, left - number)
        return ties | (stretch > last)

    return by_stretches(chosen, words, "bool")


def _highest_word(words: Any, count: int) -> tuple[int, int]:
    """The ``count``-th highest of integers that are not negative, and how many of its
    equals are among the ``count`` highest: by counting some of their bits at a time,
    which neither sorts nor takes chances."""
    xp, found, size = library(words), 0, 1 << 18
    width = 16 if len(words) > 1 << 16 else 8
    for shift in range(8 * words.itemsize - width, -1, -width):
        parts = [words[stretch] for stretch in stretches(words, size)]
        digits = [(part >> shift) & ((1 << width) - 1) for part in parts]
        numbers = sum(xp.bincount(part, minlength=1 << width) for part in digits)
        above = numbers.sum() - numbers.cumsum(0)
        digit = int((above >= count).sum())
        count -= int(above[digit])
        found = found << width | digit
        kept = [a[b == digit] for a, b in zip(parts, digits, strict=True)]
        words = xp.concatenate(kept)
    return found, count
