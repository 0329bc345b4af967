"""Two files' working weights compared, tensor by tensor, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .tensors import DType, TensorInfo, to_float
from .weight_file import WeightFile


@dataclass(frozen=True)
class TensorDifference:
    """How one tensor differs.

    Attributes:
        max_abs: Largest absolute difference; infinite where only one side is NaN.
        count: Elements that differ in value.
        why: A dtype or shape mismatch in words, or "".
    """

    name: str
    max_abs: float
    count: int
    numel: int
    why: str = ""


@dataclass(frozen=True)
class Difference:
    """How two files differ.

    Attributes:
        max_abs: Largest absolute difference of all.
        first: The first differing tensor in the first file's order, or None.
        compared: Tensors that both files have.
    """

    max_abs: float
    first: str | None
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    differing: tuple[TensorDifference, ...]
    compared: int

    @property
    def same(self) -> bool:
        """Same tensors, same values."""
        return not (self.differing or self.only_in_a or self.only_in_b)


def compare(a: WeightFile, b: WeightFile) -> Difference:
    """Compare every tensor of two open files.

    Values count, not bits: 0 equals -0, and NaN equals NaN.
    """
    in_a = {info.name: info for info in a.infos}
    in_b = {info.name: info for info in b.infos}
    shared = [name for name in in_a if name in in_b]
    found = (_compare_tensor(a, b, in_a[name], in_b[name]) for name in shared)
    differing = tuple(d for d in found if d is not None)
    return Difference(
        max_abs=max((d.max_abs for d in differing), default=0.0),
        first=differing[0].name if differing else None,
        only_in_a=tuple(name for name in in_a if name not in in_b),
        only_in_b=tuple(name for name in in_b if name not in in_a),
        differing=differing,
        compared=len(shared),
    )


def _compare_tensor(
    a: WeightFile, b: WeightFile, info: TensorInfo, other: TensorInfo
) -> TensorDifference | None:
    if (info.dtype, info.shape) != (other.dtype, other.shape):
        why = (
            f"{info.dtype} {list(info.shape)} against {other.dtype} {list(other.shape)}"
        )
        return TensorDifference(info.name, np.inf, info.numel, info.numel, why)
    max_abs, count = 0.0, 0
    for left, right in _aligned(a.blocks(info.name), b.blocks(info.name)):
        if np.array_equal(left.view("u1"), right.view("u1")):
            continue
        x, y = _comparable(left, info.dtype), _comparable(right, info.dtype)
        differs = (x != y) & ~((x != x) & (y != y))
        if differs.any():
            apart = np.abs(x[differs] - y[differs])
            count += int(differs.sum())
            max_abs = max(max_abs, float(np.nan_to_num(apart, nan=np.inf).max()))
    return TensorDifference(info.name, max_abs, count, info.numel) if count else None


def _comparable(raw: np.ndarray, dtype: DType) -> np.ndarray:
    """Values that can be subtracted: float64, complex, or float8 by their bits."""
    if dtype.poolable:
        return to_float(raw, dtype).astype("<f8")
    return raw if raw.dtype.kind == "c" else raw.astype("<f8")


def _aligned(
    a: Iterator[np.ndarray], b: Iterator[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Stretches of equal length from two streams cut at different places."""
    left = right = np.empty(0)
    try:
        while True:
            left = left if len(left) else next(a)
            right = right if len(right) else next(b)
            numel = min(len(left), len(right))
            if numel:
                yield left[:numel], right[:numel]
            left, right = left[numel:], right[numel:]
    except StopIteration:
        return
