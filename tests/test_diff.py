"""Differences between two files' weights, by value, streamed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wpack.diff import TensorDifference, compare
from wpack.tensors import BFLOAT16, BY_NAME, FLOAT32, DType, TensorInfo, from_float


class Arrays:
    """An open file of arrays, given out in blocks of some size."""

    def __init__(
        self, tensors: dict[str, np.ndarray], dtype: DType = FLOAT32, block: int = 1000
    ) -> None:
        self.infos = [TensorInfo(n, dtype, v.shape) for n, v in tensors.items()]
        self.tensors, self.block = tensors, block

    def blocks(self, name: str) -> Iterator[np.ndarray]:
        """Elements of one array."""
        flat = self.tensors[name].reshape(-1)
        for begin in range(0, flat.size, self.block):
            yield flat[begin : begin + self.block]


def floats(*values: float) -> np.ndarray:
    """A float32 vector."""
    return np.array(values, "<f4")


def test_equal_files() -> None:
    """No difference, whatever the block sizes."""
    tensors = {"a": floats(1, 2, 3), "b": floats()}
    found = compare(Arrays(tensors), Arrays(tensors, block=2))

    assert found.same
    assert (found.max_abs, found.first, found.compared) == (0.0, None, 2)


def test_values_count_and_not_bits() -> None:
    """0 equals -0, and NaN equals NaN."""
    a, b = {"a": floats(0.0, np.nan)}, {"a": floats(-0.0, np.nan)}

    assert compare(Arrays(a), Arrays(b)).same


def test_differences_by_hand() -> None:
    """Largest difference, how many, and the first tensor."""
    a = Arrays({"x": floats(1, 2, 3), "y": floats(1), "only": floats(1)})
    b = Arrays({"x": floats(1, 2.5, 1), "y": floats(1), "extra": floats(1)})
    found = compare(a, b)

    assert found.differing == (TensorDifference("x", 2.0, 2, 3),)
    assert (found.max_abs, found.first) == (2.0, "x")
    assert (found.only_in_a, found.only_in_b) == (("only",), ("extra",))
    assert not found.same


def test_nan_on_one_side_is_infinitely_far() -> None:
    """A lost value is no small difference."""
    found = compare(Arrays({"a": floats(1)}), Arrays({"a": floats(np.nan)}))

    assert found.max_abs == np.inf


def test_other_dtype_or_shape() -> None:
    """Nothing is compared, and the words say why."""
    half = {"a": from_float(floats(1, 2), BFLOAT16)}
    found = compare(Arrays({"a": floats(1, 2)}), Arrays(half, BFLOAT16))

    assert found.differing == (
        TensorDifference("a", np.inf, 2, 2, "float32 [2] against bfloat16 [2]"),
    )


def test_bfloat16_is_compared_by_value() -> None:
    """The carried integers are not the values."""
    a, b = (from_float(floats(*v), BFLOAT16) for v in ((1, 2), (1, 4)))
    found = compare(Arrays({"a": a}, BFLOAT16), Arrays({"a": b}, BFLOAT16))

    assert found.max_abs == 2.0


def test_integers_and_bools() -> None:
    """Counters and masks differ by their numbers."""
    for name in ("int64", "uint8", "bool"):
        dtype = BY_NAME[name]
        a, b = np.array([0, 1], dtype.raw), np.array([1, 1], dtype.raw)

        assert compare(Arrays({"a": a}, dtype), Arrays({"a": b}, dtype)).max_abs == 1.0


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=40),
    st.integers(1, 7),
    st.integers(1, 7),
    st.data(),
)
def test_one_changed_element_is_found(
    values: list[float], left: int, right: int, data: st.DataObject
) -> None:
    """Any element, any two block sizes."""
    at = data.draw(st.integers(0, len(values) - 1))
    a = np.array(values, "<f4")
    b = a.copy()
    b[at] += 1
    found = compare(Arrays({"a": a}, block=left), Arrays({"a": b}, block=right))

    assert found.max_abs == abs(float(b[at]) - float(a[at]))
    assert found.differing[0].count == 1
