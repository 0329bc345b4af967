"""HashedNets: by hand, and against its words in loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import block_lists
from tests.techniques import written_out
from tests.techniques.laying import block, drawn, made, projected
from wpack import techniques
from wpack.table import Block

Hashed = techniques.named("hashed")


def test_buckets_by_hand() -> None:
    """The stream of "w" begins …d3 …9c …12 …bb …d1 …8e: modulo 4, 3 0 2 3 1 2."""
    table = Hashed().layout([block(2, 3)], 4)
    (weights,) = made(Hashed(), table, [10, 20, 30, 40])

    assert weights.tolist() == [40, 10, 30, 40, 20, 30]


def test_the_mean_by_hand() -> None:
    """Buckets 3 0 2 3 1 2: the third gets 2 and 5, the fourth 0 and 3."""
    table = Hashed().layout([block(2, 3)], 4)

    assert projected(Hashed(), table, np.arange(6)).tolist() == [1, 4, 3.5, 1.5]


def test_an_empty_bucket_is_zero() -> None:
    """Nothing reads the second of four backing weights."""
    table = Hashed().layout([block(2, 2)], 4)

    assert projected(Hashed(), table, np.ones(4)).tolist() == [1, 0, 1, 1]


def test_decompression_by_hand() -> None:
    """Every weight is read from where its hash says."""
    table = Hashed().layout([block(2, 3), block(5, name="b")], 4)

    assert Hashed().multiplications(table) == 0
    assert Hashed().random_accesses(table) == 6 + 5


@given(
    blocks=block_lists(max_size=3, max_side=5),
    ratio=st.floats(1, 6),
    seed=st.integers(-9, 2**63),
)
def test_the_hash_in_plain_integers(
    blocks: list[Block], ratio: float, seed: int
) -> None:
    """One weight at a time gives the same bits."""
    technique = Hashed(seed=seed)
    working = sum(b.numel for b in blocks)
    table = technique.layout(blocks, max(1, int(working / ratio)))
    backing = drawn(table.backing, 1)
    for piece, weights in zip(
        table.slices, made(technique, table, backing), strict=True
    ):
        read = backing[piece.start : piece.end]
        expected = written_out.hashed(read, piece.numel, piece.label, seed)

        assert weights.tolist() == expected
