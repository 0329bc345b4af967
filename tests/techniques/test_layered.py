"""The layered pool: by hand, and against the paper's words in loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import block_lists
from tests.techniques import written_out
from tests.techniques.laying import block, drawn, made, projected
from wpack import techniques
from wpack.table import Block

Layered = techniques.named("layered")


def test_laps_by_hand() -> None:
    """§III-C: the range itself, then permuted: for "w" and length 4, π₁ = 1 0 3 2 and
    π₂ = 0 1 2 3."""
    table = Layered().layout([block(2, 5)], 4)
    (weights,) = made(Layered(), table, [10, 20, 30, 40])

    assert weights.tolist() == [10, 20, 30, 40, 20, 10, 40, 30, 10, 20]


def test_pairs_by_hand() -> None:
    """m = 2: the second factor is permuted from the first lap on, 1 0 3 2 and then
    3 1 2 0."""
    technique = Layered(m=2)
    table = technique.layout([block(2, 3)], 4)
    (weights,) = made(technique, table, [1, 2, 3, 5])

    assert weights.tolist() == [1 * 2, 2 * 1, 3 * 5, 5 * 3, 2 * 5, 1 * 2]


def test_each_tensor_has_its_share() -> None:
    """L = ceil(n / N_h), side by side."""
    table = Layered().layout([block(3, 3, name="a"), block(2, 5, name="b")], 8)

    assert [(s.start, s.length) for s in table.slices] == [(0, 4), (4, 5)]


@given(
    blocks=block_lists(max_size=3, max_side=5),
    ratio=st.floats(1, 6),
    m=st.integers(1, 3),
    seed=st.integers(-9, 2**63),
)
def test_the_papers_words(blocks: list[Block], ratio: float, m: int, seed: int) -> None:
    """Loops over laps and factors give the same weights."""
    technique = Layered(m=m, seed=seed)
    working = sum(b.numel for b in blocks)
    table = technique.layout(blocks, max(1, int(working / ratio)))
    backing = drawn(table.backing, 1)
    for piece, weights in zip(
        table.slices, made(technique, table, backing), strict=True
    ):
        read = backing[piece.start : piece.end]
        expected = written_out.layered(read, piece.numel, piece.label, m, seed)

        np.testing.assert_allclose(weights, expected, rtol=1e-14)


def test_the_mean_by_hand() -> None:
    """A backing weight gets the mean of what reads it: 0 and 5, 1 and 4, 2, 3."""
    table = Layered().layout([block(2, 3)], 4)

    assert projected(Layered(), table, np.arange(6)).tolist() == [2.5, 2.5, 2, 3]


@pytest.mark.parametrize("m", [2, 3])
def test_products_are_found_again(m: int) -> None:
    """What m factors make is fitted far better than the mean read could."""
    technique = Layered(m=m)
    table = technique.layout([block(9, 9)], 40)
    (weights,) = made(technique, table, drawn(40, 3))
    (again,) = made(technique, table, projected(technique, table, weights))

    assert np.sum((again - weights) ** 2) < 0.2 * np.sum(weights**2)


def test_decompression_by_hand() -> None:
    """Of 9 + 10 reads the first laps of 4 + 5 are in order; of pairs, only those of the
    first factor."""
    table = Layered().layout([block(3, 3, name="a"), block(2, 5, name="b")], 8)

    assert Layered().multiplications(table) == 0
    assert Layered().random_accesses(table) == 5 + 5
    assert Layered(m=3).multiplications(table) == 2 * 19
    assert Layered(m=3).random_accesses(table) == 3 * 19 - 9


def test_without_sharing_nothing_is_permuted() -> None:
    """At ratio 1 a tensor is its range: one lap."""
    table = Layered().layout([block(2, 5)], 10)

    assert Layered().random_accesses(table) == 0
    assert Layered(m=2).random_accesses(table) == 10


@given(
    blocks=block_lists(max_size=3, max_side=5),
    ratio=st.floats(1, 6),
    m=st.integers(1, 3),
)
def test_random_accesses_counted_one_by_one(
    blocks: list[Block], ratio: float, m: int
) -> None:
    """What leaves the order is every read but those of lap 0 and factor 0."""
    working = sum(b.numel for b in blocks)
    table = Layered(m=m).layout(blocks, max(1, int(working / ratio)))
    counted = sum(
        (i // s.length, factor) != (0, 0)
        for s in table.slices
        for i in range(s.numel)
        for factor in range(m)
    )

    assert Layered(m=m).random_accesses(table) == counted


def test_m_of_0_is_refused() -> None:
    """There is no empty product."""
    with pytest.raises(ValueError, match=r"^m must be at least 1, got 0$"):
        Layered(m=0)


def test_nan_stays_where_it_is_read() -> None:
    """The mean of a NaN is one, and its neighbours are untouched."""
    table = Layered().layout([block(2, 3)], 4)
    found = projected(Layered(), table, [0, np.nan, 2, 3, 4, 5])

    assert np.isnan(found).tolist() == [False, True, False, False]
