"""The values that stand for many: one-dimensional k-means.

The best codebook for some hundred groups of neighbouring weights, by dynamic
programming, then Lloyd's iteration with all weights.  From values at equal distances,
where Deep Compression begins, Lloyd's iteration alone ends at several times that error
when a few weights are far larger than the others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Groups for each value of a codebook; the fewest there are, and the most.  Where
#: there are no more distinct values than groups, the codebook is the best there is.
_GROUPS_EACH, _FEWEST_GROUPS, _MOST_GROUPS = 16, 256, 1024
#: Of Lloyd's; by then centroids creep.
_ITERATIONS = 100


def borders(book: np.ndarray) -> np.ndarray:
    """What lies halfway between neighbours in a codebook, or the float32 below that:
    no float32 is between the two."""
    halfway = (book[1:].astype("<f8") + book[:-1]) / 2
    near: np.ndarray = halfway.astype("<f4")
    above = near > halfway
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near


def best_codebook(values: np.ndarray, size: int) -> np.ndarray:
    """A codebook for sorted float32 values, more than ``size`` of them distinct."""
    sum_before = _sums(values)
    starts = _best_starts(values, size)
    book = np.empty(0, "<f4")
    for _ in range(_ITERATIONS):
        ends = np.append(starts[1:], len(values))
        sums = np.diff([sum_before(at) for at in (*starts, len(values))])
        means = (sums / (ends - starts)).astype("<f4")
        # Of a few values among many: no further than they, whatever was rounded.
        book = means.clip(values[starts], values[ends - 1])
        moved = np.append(0, np.searchsorted(values, borders(book), "right"))
        moved = np.unique(moved[moved < len(values)])
        if np.array_equal(moved, starts):
            break
        starts = moved
    return np.unique(book)


def _sums(values: np.ndarray) -> Callable[[int], float]:
    """What gives the sum of the values before one, without a sum for each of them."""
    width = 256
    parts = np.add.reduceat(values, np.arange(0, len(values), width), dtype="<f8")
    whole = np.append(0.0, parts.cumsum())

    def before(at: int) -> float:
        rest = values[at // width * width : at]
        return float(whole[at // width] + rest.sum(dtype="<f8"))

    return before


def _best_starts(values: np.ndarray, size: int) -> np.ndarray:
    """Where the ``size`` stretches of sorted values begin that have the least squared
    error about their means, borders being those of groups."""
    cuts = _groups(values, min(max(size * _GROUPS_EACH, _FEWEST_GROUPS), _MOST_GROUPS))
    low, high = float(values[0]), float(values[-1])
    # Relative to what they spread over, so that no square overflows.
    centred = values.astype("<f8")
    centred -= (low + high) / 2
    centred /= high - low
    sums = np.append(0, np.add.reduceat(centred, cuts).cumsum())
    centred *= centred
    squares = np.append(0, np.add.reduceat(centred, cuts).cumsum())
    number = np.append(cuts, len(values)).astype("<f8")
    counts = np.maximum(number - number[:, None], 1)
    costs = (squares - squares[:, None]) - (sums - sums[:, None]) ** 2 / counts
    costs[np.tri(len(costs), dtype=bool)] = np.inf  # no group at all
    # least[j]: of the groups before j, in as many stretches as rounds were made.
    least, lasts = costs[0], []
    for _ in range(size - 1):
        tried = least[:, None] + costs
        lasts.append(tried.argmin(axis=0))
        least = tried.min(axis=0)
    starts = [len(cuts)]
    for last in reversed(lasts):
        starts.append(int(last[starts[-1]]))
    return cuts[[0, *starts[:0:-1]]]


def _groups(values: np.ndarray, most: int) -> np.ndarray:
    """Where groups of neighbouring values begin: each distinct value is one, or half of
    the borders have as many distinct values between them and half are equally far
    apart."""
    cuts = np.append(0, np.flatnonzero(values[1:] != values[:-1]) + 1)
    if len(cuts) <= most:
        return cuts
    half = most // 2
    even = cuts[np.arange(half) * len(cuts) // half]
    far = np.linspace(float(values[0]), float(values[-1]), half + 1)[1:-1]
    return np.unique(np.append(even, np.searchsorted(values, far.astype("<f4"))))
