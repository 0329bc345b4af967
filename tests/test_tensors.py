"""The dtype table and the conversions that numpy lacks, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wpack.tensors import (
    BFLOAT16,
    BLOCK,
    BY_CODE,
    BY_NAME,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    DType,
    TensorInfo,
    blocks,
    first_not_finite,
    from_float,
    sum_dtype,
    to_float,
)


@pytest.mark.parametrize("dtype", BY_NAME.values(), ids=str)
def test_the_table_agrees_with_torch(dtype) -> None:
    """Every name is torch's, with torch's element size and numpy's raw size."""
    theirs = getattr(torch, dtype.name)

    assert dtype.itemsize == theirs.itemsize
    assert dtype.itemsize == np.dtype(dtype.raw).itemsize
    assert dtype.floating == (theirs.is_floating_point or theirs.is_complex)
    assert BY_CODE[dtype.code] is dtype


@given(arrays("<u4", st.integers(0, 64), elements=st.integers(0, 2**32 - 1)))
def test_bfloat16_rounds_as_torch_does(bits: np.ndarray) -> None:
    """Any 32 bits, NaN payloads and infinities among them, round as torch rounds."""
    values = bits.view("<f4")
    ours = from_float(values, BFLOAT16)
    theirs = torch.from_numpy(values.copy()).bfloat16().view(torch.int16).numpy()
    nan = np.isnan(values)

    assert ours[~nan].tolist() == theirs[~nan].view("<u2").tolist()
    assert np.isnan(to_float(ours[nan], BFLOAT16)).all()


@given(arrays("<u2", st.integers(0, 64), elements=st.integers(0, 2**16 - 1)))
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_narrow_types_survive_widening(name: str, raw: np.ndarray) -> None:
    """to_float then from_float gives the same values back (NaN stays NaN)."""
    dtype = BY_NAME[name]
    raw = raw.view(dtype.raw)
    wide = to_float(raw, dtype)
    again = from_float(wide, dtype)

    assert wide.dtype == sum_dtype(dtype)
    np.testing.assert_array_equal(to_float(again, dtype), wide)


def test_same_dtype_is_not_copied() -> None:
    """float32 and float64 pass through as they are."""
    for dtype in (FLOAT32, FLOAT64):
        values = np.ones(3, dtype.raw)

        assert to_float(values, dtype) is values
        assert from_float(values, dtype) is values


def test_running_statistics_are_no_parameters() -> None:
    """A normalisation layer's running statistics and integers do not count."""
    names = ["bn.weight", "bn.running_mean", "bn.running_var", "running_mean"]
    infos = [TensorInfo(name, FLOAT32, (3,)) for name in names]

    assert [i.trainable for i in infos] == [True, False, False, False]
    assert not TensorInfo("steps", BY_NAME["int64"], ()).trainable


def test_blocks_tile_the_range() -> None:
    """Blocks are consecutive, none longer than BLOCK, and a scalar is one."""
    assert list(blocks(0)) == []
    assert list(blocks(1)) == [(0, 1)]
    assert list(blocks(2 * BLOCK + 5)) == [
        (0, BLOCK),
        (BLOCK, 2 * BLOCK),
        (2 * BLOCK, 2 * BLOCK + 5),
    ]


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [
        (FLOAT64, 0x7FEF_FFFF_FFFF_FFFF),
        (FLOAT32, 0x7F7F_FFFF),
        (FLOAT16, 0x7BFF),
        (BFLOAT16, 0x7F7F),
    ],
)
def test_first_not_finite(dtype: DType, largest: int) -> None:
    """Of the bits of the largest numbers, and of the first that are none."""
    sign = 1 << 8 * dtype.itemsize - 1
    bits = np.array([0, sign, 1, largest, largest | sign], f"<u{dtype.itemsize}")
    raw = bits.view(dtype.raw)

    assert first_not_finite(raw, dtype) is None
    assert first_not_finite(raw[:0], dtype) is None
    for bad in (largest + 1, largest + 2, sign | largest + 1, 2 * sign - 1):
        bits[3] = bits[4] = bad
        assert 3 == first_not_finite(raw, dtype)
