"""Scales of blocks: what a file may say of them, and the arithmetic they share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.codecs.coding import called, every
from wpack.codecs import Quantiser
from wpack.codecs._grid import Grid, half_below, nearest_half, unit_of

grids = pytest.mark.parametrize(
    "codec", [c for c in every(Quantiser) if isinstance(c, Grid)], ids=called
)


def parameters(unit: float, scales: list[float]) -> list[np.ndarray]:
    """As a file holds them."""
    return [np.array([unit], "<f4").view("<u4"), np.array(scales, "<f2").view("<u2")]


@grids
@pytest.mark.parametrize("unit", [0.0, -0.0, -1.0, 3.0, np.nan, np.inf, 2.0**-101])
def test_units_that_are_none(codec, unit) -> None:
    """S15: a power of two, from 2^-100 to 2^127."""
    with pytest.raises(ValueError, match=r"^the unit is .*, no power of two from 2"):
        codec.decoder(parameters(unit, [1.0]), 5)


@grids
@pytest.mark.parametrize("scale", [0.0, -0.0, -1.0, np.nan, np.inf, -np.inf])
def test_scales_that_are_none(codec, scale) -> None:
    """S15: finite and above zero; the message says which is not."""
    numel = codec.block + 1

    with pytest.raises(ValueError, match=rf"^the scale of block 1 is {scale!r}$"):
        codec.decoder(parameters(0.5, [1.0, scale]), numel)


@grids
def test_a_scale_beyond_all_weights(codec) -> None:
    """Nothing that is decoded is infinite."""
    with pytest.raises(ValueError, match=r"^a scale is 3\.4e\+38, too large$"):
        codec.decoder(parameters(2.0**127, [2.0]), 5)


@grids
@pytest.mark.parametrize("block", [0, 4, 12, 63, 1 << 21])
def test_blocks_that_are_none(codec, block) -> None:
    """They cut evenly what is decoded at a time."""
    message = f"^block must be a power of two from 8 to 1048576, got {block}$"
    with pytest.raises(ValueError, match=message):
        type(codec)(block=block)


@grids
def test_beyond_what_is_stored(codec) -> None:
    """Weights of a float64 pool may be larger than any scale."""
    with pytest.raises(ValueError, match=r"stores no magnitude above 2\^127 ≈ 1\.7e"):
        codec.encode(np.array([1e300]))


@grids
def test_one_block_for_all(codec) -> None:
    """A block may be longer than the stretches that are worked on at a time."""
    wide = type(codec)(block=1 << 18)
    values = np.random.default_rng(0).standard_normal(300_000).astype("<f4")
    unit, scales, codes = wide.encode(values)
    *_, whole = wide.encode(values[: 1 << 18])

    assert (1, 2) == (len(unit.symbols), len(scales.symbols))
    assert np.array_equal(whole.symbols, codes.symbols[: 1 << 18])


@pytest.mark.parametrize("unit", [2.0**-100, 1.0, 2.0**127])
def test_units(unit: float) -> None:
    """Powers of two are what they are."""
    assert unit == unit_of(np.array([unit], "<f4").view("<u4"))


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_halves(dtype: str) -> None:
    """The float16 below and the one nearest to a value: 1 + 2^-10 is the next to 1, and
    2^-24 the one to 0."""
    step = 2.0**-10
    values = np.array([0, 1, 1 + step / 3, 1 + step / 1.5, 1.4 * 2.0**-24], dtype)
    below, near = half_below(values), nearest_half(values)

    assert [0, 1, 1, 1, 2.0**-24] == below.tolist()
    assert [0, 1, 1, 1 + step, 2.0**-24] == near.tolist()
    assert [np.dtype(dtype)] * 2 == [below.dtype, near.dtype]
    assert below.tolist() == half_below(torch.from_numpy(values)).tolist()
    assert near.tolist() == nearest_half(torch.from_numpy(values)).tolist()
