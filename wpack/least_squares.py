"""Least squares for working weights that are products of backing weights.

``w_k ≈ Π_j b[index_j(k)]`` is not linear in b, so the fit is iterative: the
Levenberg-Marquardt method (Marquardt 1963), its linear step solved by conjugate
gradients on the normal equations, so that nothing larger than the weights is stored.
No sum goes through BLAS, whose order of adding depends on the number of threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

#: Weight of Σ b² beside Σ error², for weights of root mean square 1.  The best products
#: may lie at infinity, one factor growing while its partners vanish; with this, none
#: gets much beyond ten times its fellows, and training can start there.
RIDGE = 1e-2
#: Share of the energy below which a fit is exact, and no ridge need bend it.
EXACT = 1e-16
#: The largest backing weight that an exact fit may have, in units of the weights'.
MODERATE = 20.0
#: Stop when the gradient is this small, for weights of root mean square 1.
TOLERANCE = 1e-6
#: Steps of a fit times the number of weights, unless that is but a few steps: a small
#: tensor is fitted to the last digit, a large one as far as it pays.
WORK = 1 << 21

TINY = float(np.finfo(float).tiny)


def fit_products(
    working: np.ndarray,
    indices: Sequence[np.ndarray],
    starts: Iterable[np.ndarray],
) -> np.ndarray:
    """The best of the local optima reached from several starts.

    With s the root mean square of the weights and m factors, what is lowered is
    ``Σ (w - Π b)² + RIDGE · s^(2 - 2/m) · Σ b²``; without the ridge where the weights
    are such products of moderate factors.

    Args:
        working: ``(n,)`` float64, what is to be approximated; finite.
        indices: One ``(n,)`` integer array a factor.
        starts: ``(length,)`` float64 each, for weights scaled to root mean square 1;
            the search ends early once a fit is exact.

    Returns:
        ``(length,)`` float64.
    """
    size = root_mean_square(working)
    scaled = working / (size or 1.0)
    best, lowest = None, np.inf
    for start in starts:
        found, error = _descend(scaled, indices, start, RIDGE)
        if best is None or error < lowest:
            best, lowest = found, error
        exact = _exact(scaled, indices, (start, found))
        if exact is not None:
            best = exact
            break
    if best is None:
        raise ValueError("fit_products needs at least one start")
    return np.asarray(best * size ** (1 / len(indices)))


def fit_sums(
    values: np.ndarray, indices: Sequence[np.ndarray], length: int
) -> np.ndarray:
    """x that brings ``Σ_j x[index_j(k)]`` nearest to ``values``, ``(length,)``.

    The logarithms of a product's factors, for one; of many solutions, a small one.
    """
    slopes = [np.ones_like(values) for _ in indices]
    gradient = _transposed(slopes, indices, values, length)
    limits = (_limit(len(values), 40, 2000), 1e-24)
    return _step(slopes, indices, gradient, 1e-9, 0.0, limits)


def root_mean_square(values: np.ndarray) -> float:
    """√(Σ v² / n); 0 where there are none."""
    return float(np.sqrt(_dot(values, values) / max(len(values), 1)))


def _exact(
    working: np.ndarray, indices: Sequence[np.ndarray], starts: Iterable[np.ndarray]
) -> np.ndarray | None:
    """The factors of weights that are products, if a start is next to them."""
    for start in starts:
        residual = _linearise(working, indices, start)[1]
        if _dot(residual, residual) <= 1e-3 * len(working):
            found, error = _descend(working, indices, start, 0.0)
            moderate = np.abs(found).max(initial=0.0) <= MODERATE
            if moderate and error <= EXACT * len(working):
                return found
    return None


def _descend(
    working: np.ndarray, indices: Sequence[np.ndarray], b: np.ndarray, ridge: float
) -> tuple[np.ndarray, float]:
    """A local optimum, and what is left of error and ridge there."""
    slopes, residual = _linearise(working, indices, b)
    error = _dot(residual, residual) + ridge * _dot(b, b)
    damping, growth = 1e-2, 2.0
    limits = (_limit(8 * len(working), 15, 60), 1e-4)
    for _ in range(_limit(len(working), 20, 400)):
        gradient = _transposed(slopes, indices, residual, len(b)) - ridge * b
        if np.abs(gradient).max(initial=0.0) <= (TOLERANCE if ridge else 1e-12):
            break
        step = _step(slopes, indices, gradient, damping, ridge, limits)
        tried = b + step
        linear = _linearise(working, indices, tried)
        reached = _dot(linear[1], linear[1]) + ridge * _dot(tried, tried)
        if reached < error:
            # Nielsen's rule: damp less the better the linear model foretold the gain.
            gain = min((error - reached) / max(_dot(step, gradient), TINY), 1.2)
            damping = max(damping * max(0.2, 1 - (2 * gain - 1) ** 3), 1e-12)
            b, error, (slopes, residual), growth = tried, reached, linear, 2.0
        else:
            damping, growth = damping * growth, growth * 2
            if damping > 1e12:
                break
    return b, error


def _limit(numel: int, least: int, most: int) -> int:
    return max(least, min(most, WORK // max(numel, 1)))


def _linearise(
    working: np.ndarray, indices: Sequence[np.ndarray], b: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Partial derivatives by factor, each ``(n,)``, and what is left to explain."""
    factors = [b[index] for index in indices]
    slopes = [
        np.prod([f for k, f in enumerate(factors) if k != j], axis=0)
        if len(factors) > 1
        else np.ones_like(working)
        for j in range(len(factors))
    ]
    return slopes, working - slopes[0] * factors[0]


def _transposed(
    slopes: Sequence[np.ndarray],
    indices: Sequence[np.ndarray],
    values: np.ndarray,
    length: int,
) -> np.ndarray:
    total = np.zeros(length)
    for slope, index in zip(slopes, indices, strict=True):
        total += np.bincount(index, slope * values, length)
    return total


def _step(
    slopes: Sequence[np.ndarray],
    indices: Sequence[np.ndarray],
    gradient: np.ndarray,
    damping: float,
    ridge: float,
    limits: tuple[int, float],
) -> np.ndarray:
    """Solve (JᵀJ + damping · diag + ridge) step = gradient; the diagonal conditions.

    ``limits``: the most iterations, and the share of the squared rest to stop at.
    """
    length = len(gradient)
    diagonal = np.full(length, ridge)
    for slope, index in zip(slopes, indices, strict=True):
        diagonal += np.bincount(index, slope * slope, length)
    diagonal += max(float(diagonal.mean()), TINY) * 1e-6

    def normal(v: np.ndarray) -> np.ndarray:
        image = sum(s * v[i] for s, i in zip(slopes, indices, strict=True))
        total: np.ndarray = _transposed(slopes, indices, np.asarray(image), length)
        total += (damping * diagonal + ridge) * v
        return total

    step: np.ndarray = np.zeros(length)
    rest = gradient
    scaled = rest / diagonal
    direction, rho = scaled, _dot(rest, scaled)
    enough = limits[1] * rho
    for _ in range(limits[0]):
        image = normal(direction)
        curvature = _dot(direction, image)
        if curvature <= 0.0:
            break
        rate = rho / curvature
        step = step + rate * direction
        rest = rest - rate * image
        scaled = rest / diagonal
        before, rho = rho, _dot(rest, scaled)
        if rho <= enough:
            break
        direction = scaled + rho / before * direction
    return np.asarray(step)


def _dot(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.einsum("i,i->", a, b))
