"""``pow2``: by hand, its errors, and what INQ fixes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.codecs.coding import decoded, weights
from wpack.codecs.pow2 import Pow2


def test_by_hand() -> None:
    """floor(log2(4/3 · 3)) = 2, so three bits have ±4, ±2, ±1 and 0."""
    values = np.array([3, 2.9, 1.5, 1.4, -0.75, -0.5, 0.49, 0, 3e-9], "<f4")
    exponent, codes = Pow2(bits=3).encode(values)

    assert [92] == exponent.symbols.tolist()
    assert [6, 5, 5, 4, 2, 2, 3, 3, 3] == codes.symbols.tolist()
    assert [4, 2, 2, 1, -1, -1, 0, 0, 0] == decoded(Pow2(bits=3), values).tolist()


@pytest.mark.parametrize("bits", [2, 3, 4, 6])
@given(st.data())
def test_error(bits: int, data: st.DataObject) -> None:
    """At most a third, or what the smallest power leaves to zero."""
    values = data.draw(weights()).astype("<f8")
    errors = np.abs(decoded(Pow2(bits), values) - values)
    most = np.abs(values).max(initial=0)
    largest = np.floor(np.log2(4 / 3 * most)) if most else 0
    smallest = 2.0 ** (largest - (2 ** (bits - 1) - 1))
    bound = np.maximum(np.abs(values) / 3, smallest)

    assert (errors <= bound * (1 + 1e-12) + 2.0**-90).all()


def test_a_power_that_is_none() -> None:
    """S15: beyond float32."""
    with pytest.raises(ValueError, match=r"^the largest power of two is 2\^128, too"):
        Pow2().decoder([np.array([218], "u1")], 5)


@pytest.mark.parametrize("bits", [1, 7])
def test_bits(bits: int) -> None:
    """From 2 to 6."""
    message = f"bits must be from 2 to 6, got {bits}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Pow2(bits)


@pytest.mark.parametrize(
    ("progress", "fixed"),
    [(0.0, 4), (0.24, 4), (0.25, 6), (0.5, 7), (0.75, 8), (0.9, 8), (1.0, 8)],
)
def test_a_growing_share_is_fixed(progress: float, fixed: int) -> None:
    """The largest first, whatever their sign."""
    latents = torch.tensor([1.0, -8, 3, -2, 7, 6, -5, 4], requires_grad=True)
    found = Pow2(incremental=True).fixed(latents, progress)

    assert found is not None
    assert (latents.detach().abs() > 8 - fixed).tolist() == found.tolist()


def test_nothing_is_fixed_by_default() -> None:
    """All weights are trained to the end, through their coded values."""
    assert Pow2().fixed(torch.ones(3), 0.5) is None
