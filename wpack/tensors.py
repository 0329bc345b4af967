"""Tensor descriptions and the one table of dtypes.

The table joins the names that numpy, torch, the spec and the safetensors header give
to one element type.  numpy has no bfloat16 and no float8: their elements are carried
as the unsigned integers of the same bits (*raw* arrays) and widened by
:func:`to_float`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

#: Elements converted at a time, so that a conversion costs a block and not a tensor.
BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class DType:
    """One element type.

    Attributes:
        name: The torch attribute and the spec's word, ``"bfloat16"``.
        code: The safetensors header's word, ``"BF16"``.
        itemsize: Bytes an element.
        raw: numpy dtype (little endian) that carries the bits.
        floating: Whether its elements are (real or complex) floating point.
        poolable: Whether a pool may hold it (float16, bfloat16, float32, float64).
    """

    name: str
    code: str
    itemsize: int
    raw: str
    floating: bool = False
    poolable: bool = False

    def __str__(self) -> str:
        return self.name


_TABLE = (
    DType("float64", "F64", 8, "<f8", True, True),
    DType("float32", "F32", 4, "<f4", True, True),
    DType("float16", "F16", 2, "<f2", True, True),
    DType("bfloat16", "BF16", 2, "<u2", True, True),
    DType("float8_e4m3fn", "F8_E4M3", 1, "|u1", True),
    DType("float8_e5m2", "F8_E5M2", 1, "|u1", True),
    DType("float8_e4m3fnuz", "F8_E4M3FNUZ", 1, "|u1", True),
    DType("float8_e5m2fnuz", "F8_E5M2FNUZ", 1, "|u1", True),
    DType("float8_e8m0fnu", "F8_E8M0", 1, "|u1", True),
    DType("complex64", "C64", 8, "<c8", True),
    DType("int64", "I64", 8, "<i8"),
    DType("int32", "I32", 4, "<i4"),
    DType("int16", "I16", 2, "<i2"),
    DType("int8", "I8", 1, "|i1"),
    DType("uint64", "U64", 8, "<u8"),
    DType("uint32", "U32", 4, "<u4"),
    DType("uint16", "U16", 2, "<u2"),
    DType("uint8", "U8", 1, "|u1"),
    DType("bool", "BOOL", 1, "|b1"),
)
BY_NAME = {d.name: d for d in _TABLE}
BY_CODE = {d.code: d for d in _TABLE}

FLOAT64 = BY_NAME["float64"]
FLOAT32 = BY_NAME["float32"]
FLOAT16 = BY_NAME["float16"]
BFLOAT16 = BY_NAME["bfloat16"]

#: The bits of infinity; above them are NaNs, but for the sign.
_INFINITIES = {
    FLOAT64: 0x7FF0_0000_0000_0000,
    FLOAT32: 0x7F80_0000,
    FLOAT16: 0x7C00,
    BFLOAT16: 0x7F80,
}


class TensorInfo(NamedTuple):
    """A tensor's name, element type and shape, as a header tells them.

    Attributes:
        alias_of: The name of the tensor this one shares all its memory with (tied
            embeddings), or None.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    alias_of: str | None = None

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.numel * self.dtype.itemsize

    @property
    def trainable(self) -> bool:
        """Whether its entries are parameters.  A header does not say so: every
        floating-point tensor counts but a normalisation layer's running statistics."""
        statistic = self.name.rpartition(".")[2] in _STATISTICS
        return self.dtype.floating and not statistic


#: Last parts of the names that torch's normalisation layers give to what they count
#: and do not learn.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def sum_dtype(dtype: DType) -> np.dtype:
    """The numpy type in which values of ``dtype`` are added up: float64 for itself,
    float32 for all narrower ones."""
    return np.dtype("<f8" if dtype == FLOAT64 else "<f4")


def to_float(raw: np.ndarray, dtype: DType) -> np.ndarray:
    """Widen raw elements of a poolable ``dtype`` to :func:`sum_dtype`, exactly.

    Returns ``raw`` itself where nothing has to change.
    """
    if dtype == BFLOAT16:
        widened: np.ndarray = raw.astype("<u4") << np.uint32(16)
        return widened.view("<f4")
    return raw.astype(sum_dtype(dtype), copy=False)


def from_float(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Round float32 or float64 values to a poolable ``dtype``, to nearest, ties to
    even; the result is raw.  Returns ``values`` itself where nothing has to change."""
    with np.errstate(over="ignore"):
        if dtype != BFLOAT16:
            return values.astype(dtype.raw, copy=False)
        bits = np.ascontiguousarray(values.astype("<f4", copy=False)).view("<u4")
    rounded = bits >> np.uint32(16)
    rounded &= np.uint32(1)
    rounded += np.uint32(0x7FFF)
    rounded += bits
    rounded >>= np.uint32(16)
    raw: np.ndarray = rounded.astype("<u2")
    nan = np.isnan(bits.view("<f4"))
    if nan.any():
        # The carry of a NaN's payload could turn it into an infinity: keep it quiet.
        raw[nan] = (bits[nan] >> np.uint32(16)).astype("<u2") | np.uint16(0x40)
    return raw


def first_not_finite(raw: np.ndarray, dtype: DType) -> int | None:
    """Where the first NaN or infinity among raw elements of a poolable ``dtype`` is;
    None where there is none."""
    bits = raw.view(f"<u{dtype.itemsize}")
    # The sign, the highest bit, goes.
    magnitudes = bits & bits.dtype.type((1 << 8 * dtype.itemsize - 1) - 1)
    if not len(raw) or magnitudes.max() < _INFINITIES[dtype]:
        return None
    return int(np.argmax(magnitudes >= _INFINITIES[dtype]))


def blocks(numel: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges ``(begin, end)`` of at most :data:`BLOCK` elements."""
    for begin in range(0, numel, BLOCK):
        yield begin, min(begin + BLOCK, numel)
