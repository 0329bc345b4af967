"""Structured Multi-Hashing: by hand, limits, and against its words in loops."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.strategies import block_lists
from tests.techniques import written_out
from tests.techniques.laying import block, drawn, made, projected
from wpack import techniques
from wpack.errors import PlanError
from wpack.table import Block, SliceTable

Smh = techniques.named("smh")


def test_a_product_by_hand() -> None:
    """Seven weights in a 3 × 3 product of rank 1; a dense kernel of 4 rows is scaled by
    1/2, a convolution with one output channel and 2 × 1 taps by 1."""
    table = Smh().layout([block(4, 1, name="a"), block(1, 1, 3, 1, name="b")], 7)
    dense, kernel = made(Smh(), table, [1, 2, 3, 10, 20, 30])

    assert [(s.start, s.length) for s in table.slices] == [(0, 6), (0, 6)]
    assert dense.tolist() == [5, 10, 15, 10]
    np.testing.assert_allclose(kernel, np.array([40, 60, 30]) * sqrt(2 / 3))


def test_decompression_by_hand() -> None:
    """M · N²: seven weights are made as nine, 36 of rank 2 as twice 36."""
    small = Smh().layout([block(4, 1, name="a"), block(1, 1, 3, 1, name="b")], 7)
    square = Smh().layout([block(6, 6)], 24)

    assert Smh().multiplications(small) == 1 * 3 * 3
    assert Smh().multiplications(square) == 2 * 6 * 6
    assert Smh().random_accesses(square) == 0


def test_a_budget_below_two_vectors_is_refused() -> None:
    """The message gives the least."""
    with pytest.raises(PlanError) as caught:
        Smh().layout([block(17, 33)], 40)

    assert str(caught.value) == (
        "smh: 40 backing weights do not hold two factors of 24 × 1; the least is 48."
        " Use a ratio of at most 11.687"
    )
    assert Smh().layout([block(17, 33)], int(561 / 11.687)).backing == 48


@given(blocks=block_lists(max_size=4, max_side=5), ratio=st.floats(1, 5))
def test_the_papers_words(blocks: list[Block], ratio: float) -> None:
    """Loops over rows, columns and the inner index give the same weights."""
    working = sum(b.numel for b in blocks)
    try:
        table = Smh().layout(blocks, max(1, int(working / ratio)))
    except PlanError:
        assume(False)
    backing = drawn(table.backing, 1)
    before = 0
    for piece, weights in zip(table.slices, made(Smh(), table, backing), strict=True):
        expected = written_out.smh(backing, piece.numel, before, working, piece.shape)
        before += piece.numel

        np.testing.assert_allclose(weights, expected, rtol=1e-12, atol=1e-13)


def test_without_free_cells_it_is_the_truncated_decomposition() -> None:
    """36 weights fill 6 × 6: the error is what the lost singular values hold."""
    matrix = drawn(36, 0).reshape(6, 6)
    table = Smh().layout([block(6, 6)], 24)
    (again,) = made(Smh(), table, projected(Smh(), table, matrix))
    sizes = np.linalg.svd(matrix, compute_uv=False)

    np.testing.assert_allclose(
        np.sum((again - matrix.reshape(-1)) ** 2), np.sum(sizes[2:] ** 2), rtol=1e-9
    )


def test_a_large_matrix_takes_three_rounds() -> None:
    """Above side 300 the fit is near the truncated decomposition with zeros for the
    free cells, and no worse."""
    table = Smh().layout([block(305, 301)], 40_000)
    weights = drawn(305 * 301, 0)
    (again,) = made(Smh(), table, projected(Smh(), table, weights))
    filled = np.zeros(303 * 303)
    filled[: len(weights)] = weights
    sizes = np.linalg.svd(filled.reshape(303, 303), compute_uv=False)
    lost = np.sum(sizes[40_000 // 606 :] ** 2)

    assert 0.9 * lost < np.sum((again - weights) ** 2) <= lost


def test_a_nan_spoils_the_pool() -> None:
    """All weights share the factors, so there is no fit."""
    table = Smh().layout([block(3, 3)], 6)
    weights = drawn(9, 0)
    weights[4] = np.nan

    assert np.isnan(projected(Smh(), table, weights)).all()


def test_files_that_are_not_two_factors_are_objected_to() -> None:
    """A file cannot make the loader fail later."""
    piece = block(3, 3).reading(0, 5)
    partial = block(3, 3).reading(2, 6)

    assert Smh().objection(SliceTable(5, (piece,)), piece) == (
        "5 backing weights are not two factors of side 3"
    )
    assert Smh().objection(SliceTable(6, (partial,)), partial) == (
        "it does not read the whole pool"
    )
