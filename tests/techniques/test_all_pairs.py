"""All Pairs: by hand, limits, and against the paper's words in loops."""

from __future__ import annotations

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

AllPairs = techniques.named("all_pairs")


def test_laps_by_hand() -> None:
    """§III-B: neighbours round the circle, then every second one."""
    table = AllPairs().layout([block(4, 2)], 5)
    (weights,) = made(AllPairs(), table, [1, 2, 3, 5, 7])

    assert weights.tolist() == [1 * 2, 2 * 3, 3 * 5, 5 * 7, 7 * 1, 1 * 3, 2 * 5, 3 * 7]


def test_every_pair_of_an_even_circle_once() -> None:
    """Six pairs of four: the last distance, half way round, gives two."""
    table = AllPairs().layout([block(2, 3)], 4)
    (weights,) = made(AllPairs(), table, [2, 3, 5, 7])

    assert sorted(weights.tolist()) == [6, 10, 14, 15, 21, 35]


def test_decompression_by_hand() -> None:
    """One product a pair, and both its factors are read in order."""
    table = AllPairs().layout([block(4, 2), block(3, 3, name="b")], 11)

    assert AllPairs().multiplications(table) == 8 + 9
    assert AllPairs().random_accesses(table) == 0


def test_a_budget_with_too_few_pairs_is_refused() -> None:
    """The message gives what would do, and the ratio that gives it."""
    with pytest.raises(PlanError) as caught:
        AllPairs().layout([block(17, 33)], 30)

    assert str(caught.value) == (
        "all_pairs: 30 backing weights make 435 pairs, but w has 561 weights; it needs"
        " 34. Use a ratio of at most 16.5, or keep the tensor"
    )
    assert AllPairs().layout([block(17, 33)], int(561 / 16.5)).backing == 34


@given(blocks=block_lists(max_size=3, max_side=5), ratio=st.floats(1, 6))
def test_the_papers_words(blocks: list[Block], ratio: float) -> None:
    """Loops over distances and positions give the same bits."""
    working = sum(b.numel for b in blocks)
    try:
        table = AllPairs().layout(blocks, max(1, int(working / ratio)))
    except PlanError:
        assume(False)
    backing = drawn(table.backing, 1)
    for piece, weights in zip(
        table.slices, made(AllPairs(), table, backing), strict=True
    ):
        read = backing[piece.start : piece.end]

        assert weights.tolist() == written_out.all_pairs(read, piece.numel)


@pytest.mark.parametrize("ratio", [1.0, 1.44, 4.0])
def test_backing_weights_stay_moderate(ratio: float) -> None:
    """Training starts from a projection: none is 20 times the root mean square, though
    the best fit of a ring lies at infinity where its signs cannot be met."""
    table = AllPairs().layout([block(40, 30)], int(1200 / ratio))
    weights = 0.05 * drawn(1200, 0)
    found = projected(AllPairs(), table, weights)
    (again,) = made(AllPairs(), table, found)

    assert np.abs(found).max() < 20 * np.sqrt(np.mean(found**2))
    assert np.sum((again - weights) ** 2) < (1.05 - 1 / ratio**1.3) * weights @ weights


def test_zeros_project_to_zeros() -> None:
    """Pruned to nothing, a tensor stays nothing."""
    table = AllPairs().layout([block(3, 3)], 5)

    assert projected(AllPairs(), table, np.zeros(9)).tolist() == [0.0] * 5


def test_too_few_backing_weights_are_objected_to() -> None:
    """A file cannot make the loader fail later."""
    piece = block(2, 4).reading(0, 4)

    assert AllPairs().objection(SliceTable(4, (piece,)), piece) == (
        "4 backing weights make 6 pairs, not 8"
    )
