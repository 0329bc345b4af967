"""Codes to values through a table."""

from __future__ import annotations

import numpy as np
import pytest

from wpack.codecs._lookup import Lookup


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("levels", [2, 31, 256])
@pytest.mark.parametrize("numel", [0, 1, 999, 1 << 15, (1 << 15) + 1])
def test_each_code_is_its_value(dtype: str, levels: int, numel: int) -> None:
    """One at a time or in pairs, for any number of codes."""
    random = np.random.default_rng(0)
    table = random.standard_normal(levels).astype("<f4")
    codes = random.integers(0, levels, numel).astype("u1")
    out = np.full(numel, np.nan, dtype)

    Lookup(table)(codes, 0, out)

    assert np.array_equal(table.astype(dtype)[codes], out)


def test_places_off_the_grid() -> None:
    """Values are put where they belong, also four bytes off a multiple of eight."""
    codes = np.arange(1 << 16, dtype="<u4").astype("u1")
    out = np.zeros(len(codes) + 2, "<f4")
    table = np.arange(256, dtype="<f4")

    Lookup(table)(codes[1:], 0, out[1:-2])

    assert np.array_equal(codes[1:], out[1:-2])
    assert [0, 0, 0] == [out[0], out[-2], out[-1]]
