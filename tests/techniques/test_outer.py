"""The outer product: by hand, limits, and against the paper's words in loops."""

from __future__ import annotations

from math import gcd

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

Outer = techniques.named("outer")


def test_a_product_by_hand() -> None:
    """§III-A: twelve weights in rows of 3 from u of 2 and v of 7: 6 shares a factor
    with the row, so N2 is 7 and two cells fall away."""
    table = Outer().layout([block(4, 3)], 9)
    (weights,) = made(Outer(), table, [1, 10, 1, 2, 3, 4, 5, 6, 7])

    assert [(s.start, s.length) for s in table.slices] == [(0, 9)]
    assert weights.tolist() == [1, 2, 3, 4, 5, 6, 7, 10, 20, 30, 40, 50]


def test_permuted_cells_by_hand() -> None:
    """Ten cells of 2 × 5 in the order 7 8 4 9 6 5 1 0 2 3."""
    technique = Outer(permute=True)
    table = technique.layout([block(5, 2)], 7)
    (weights,) = made(technique, table, [1, 10, 1, 2, 3, 4, 5])

    assert weights.tolist() == [30, 40, 5, 50, 20, 10, 2, 1, 3, 4]


def test_decompression_by_hand() -> None:
    """One product a weight; shuffled cells are read in no order either."""
    table = Outer().layout([block(4, 3)], 9)

    assert Outer().multiplications(table) == 12
    assert Outer().random_accesses(table) == 0
    assert Outer(permute=True).multiplications(table) == 12
    assert Outer(permute=True).random_accesses(table) == 12


def test_the_share_decides_the_sides() -> None:
    """The smallest N1 that fits: 561 weights in rows of 33 at ratios 2, 4 and 10."""
    technique = Outer()
    sides = []
    for budget in (284, 144, 60):
        table = technique.layout([block(17, 33)], budget)
        sides.append(technique.sides(table.slices[0]))

    assert sides == [(2, 281), (5, 113), (12, 47)]


def test_a_budget_too_small_is_refused() -> None:
    """The message gives the least that does, and the ratio that gives it."""
    with pytest.raises(PlanError) as caught:
        Outer().layout([block(17, 33)], 14)

    assert str(caught.value) == (
        "outer: w, shape [17, 33], cannot be made from 14 backing weights; the least"
        " is 48. Use a ratio of at most 11.687, or keep the tensor"
    )
    assert Outer().layout([block(17, 33)], int(561 / 11.687)).backing == 48


def test_a_vector_has_no_rows() -> None:
    """A tensor of one column cannot be made from fewer than its weights."""
    with pytest.raises(PlanError, match=r"the least is "):
        Outer().layout([block(6, 1)], 6)


@given(
    blocks=block_lists(max_size=3, max_side=5),
    ratio=st.floats(1, 5),
    permute=st.booleans(),
    seed=st.integers(-9, 2**63),
)
def test_the_papers_words(
    blocks: list[Block], ratio: float, permute: bool, seed: int
) -> None:
    """Loops over cells give the same weights, and N2 keeps the paper's two rules."""
    technique = Outer(permute=permute, seed=seed)
    try:
        working = sum(b.numel for b in blocks)
        table = technique.layout(blocks, max(1, int(working / ratio)))
    except PlanError:
        assume(False)
    backing = drawn(table.backing, 1)
    for piece, weights in zip(
        table.slices, made(technique, table, backing), strict=True
    ):
        row = piece.numel // piece.shape[0]
        read = backing[piece.start : piece.end]
        expected = written_out.outer(read, piece.numel, piece.label, row, permute, seed)
        n1, n2 = technique.sides(piece)

        assert weights.tolist() == expected
        assert gcd(n2, row) == 1
        assert n1 * n2 >= piece.numel <= n2 * row


def test_the_projection_is_the_leading_singular_pair() -> None:
    """Where no cell is free the error is what the other singular values hold."""
    matrix = drawn(3 * 7, 0).reshape(3, 7)
    table = _table(21, 3)
    (again,) = made(Outer(), table, projected(Outer(), table, matrix))
    sizes = np.linalg.svd(matrix, compute_uv=False)

    np.testing.assert_allclose(
        np.sum((again - matrix.reshape(-1)) ** 2), np.sum(sizes[1:] ** 2), rtol=1e-9
    )


def test_both_factors_have_one_scale() -> None:
    """Root mean squares of u and v agree, so that one learning rate fits both."""
    table = _table(21, 3)
    found = projected(Outer(), table, drawn(21, 0))
    n1, _ = Outer().sides(table.slices[0])

    np.testing.assert_allclose(
        np.mean(found[:n1] ** 2), np.mean(found[n1:] ** 2), rtol=1e-9
    )


def test_a_nan_spoils_its_tensor_only() -> None:
    """There is no fit to a NaN; the range is NaN, the next tensor's is not."""
    table = Outer().layout([block(4, 3, name="a"), block(4, 3, name="b")], 18)
    weights = drawn(12, 0)
    found = projected(Outer(), table, np.full(12, np.nan), weights)

    assert np.isnan(found).tolist() == [True] * 9 + [False] * 9


def test_a_length_that_no_product_has_is_objected_to() -> None:
    """A file cannot make the loader fail later."""
    piece = block(4, 3).reading(0, 6)

    assert Outer().objection(SliceTable(6, (piece,)), piece) == (
        "no outer product of 12 weights has 6 backing weights"
    )


def _table(numel: int, n1: int) -> SliceTable:
    """One slice of ``numel`` weights in rows of 10 whose N1 × N2 has no free cell."""
    piece = Block("w", (numel, 10), 0, numel, "").reading(0, n1 + numel // n1)
    return SliceTable(piece.length, (piece,))
