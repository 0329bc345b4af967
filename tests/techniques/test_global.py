"""The global pool: placements by hand, and against the paper's words in loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import block_lists
from wpack import techniques
from wpack.errors import PlanError
from wpack.table import Block

Global = techniques.named("global")


def blocks_of(*numels: int) -> list[Block]:
    """Flat tensors t0, t1, … of these sizes."""
    return [Block(f"t{i}", (n,), 0, n, "") for i, n in enumerate(numels)]


def starts(technique, numels, backing) -> list[tuple[str, int, int]]:
    """(tensor, start, length) of each slice of the layout."""
    table = technique.layout(blocks_of(*numels), backing)
    return [(s.tensor, s.start, s.length) for s in table.slices]


def test_the_ring_by_hand() -> None:
    """§III-D: each tensor starts where the last one ended, modulo the pool."""
    assert starts(Global(), (3, 4, 9, 2), 5) == [
        ("t0", 0, 3),
        ("t1", 3, 4),
        ("t2", 2, 9),
        ("t3", 1, 2),
    ]


@given(block_lists(), st.integers(1, 300))
def test_the_ring_is_the_papers_queue(blocks: list[Block], backing: int) -> None:
    """Dealing weights one by one from a circular queue gives the same indices."""
    table = Global().layout(blocks, backing)
    head = 0
    for piece in table.slices:
        for i in range(piece.numel):
            assert head == (piece.start + i) % backing

            head = (head + 1) % backing


def test_pack_moves_back_what_would_wrap() -> None:
    """A tensor that does not fit ends at the pool's end; the next lap starts at 0."""
    assert starts(Global(placement="pack"), (3, 4, 2), 5) == [
        ("t0", 0, 3),
        ("t1", 1, 4),
        ("t2", 0, 2),
    ]


@given(block_lists(), st.integers(1, 300))
def test_pack_never_wraps(blocks: list[Block], backing: int) -> None:
    """No slice of a packed pool passes its end."""
    technique = Global(placement="pack")
    if max(b.numel for b in blocks) > backing:
        with pytest.raises(PlanError, match=r"^placement pack: "):
            technique.layout(blocks, backing)
    else:
        assert not technique.layout(blocks, backing).wraps


def test_pack_refuses_a_tensor_longer_than_the_pool() -> None:
    """The message names the tensor, both sizes and the ways out."""
    with pytest.raises(PlanError) as caught:
        Global(placement="pack").layout(blocks_of(6), 5)

    assert str(caught.value) == (
        "placement pack: t0 has 6 weights, more than the pool's 5 backing weights."
        " Lower the ratio, keep the tensor, or use placement: ring"
    )


def test_fold_turns_each_lap() -> None:
    """The first lap is the ring; a tensor across the lap's end is two slices."""
    # splitmix64(1) mod 6 = 16294208416658607535 mod 6 = 1: the second lap starts at 1.
    assert starts(Global(placement="fold"), (4, 4, 4), 6) == [
        ("t0", 0, 4),
        ("t1", 4, 2),
        ("t1", 1, 2),
        ("t2", 3, 4),
    ]


@given(block_lists(), st.integers(1, 300))
def test_fold_reads_each_backing_weight_once_a_lap(
    blocks: list[Block], backing: int
) -> None:
    """Within a lap of N_b consecutive working weights no backing weight repeats."""
    table = Global(placement="fold").layout(blocks, backing)
    read = np.concatenate(
        [(s.start + np.arange(s.numel)) % backing for s in table.slices]
    )
    for lap in range(0, len(read), backing):
        stretch = read[lap : lap + backing]

        assert len(stretch) == len(set(stretch.tolist()))


def test_order_places_tensors_by_pattern() -> None:
    """Slices stay in checkpoint order; their places follow the list."""
    technique = Global(order=("t2", "t0", "*"))

    assert starts(technique, (3, 4, 2), 100) == [
        ("t0", 2, 3),
        ("t1", 5, 4),
        ("t2", 0, 2),
    ]


def test_order_must_match_every_tensor() -> None:
    """A tensor that no pattern places is an error, not a guess."""
    with pytest.raises(PlanError) as caught:
        Global(order=("t1",)).layout(blocks_of(3, 4), 5)

    assert str(caught.value) == (
        "order: no pattern matches t0 (1 of 2 tensors unmatched). End the list with '*'"
    )


def test_start_sets_a_place_and_the_ring_goes_on() -> None:
    """A tensor put at 4 wraps; the next one follows it."""
    technique = Global(start={"t1": 4})

    assert starts(technique, (3, 4, 2), 5) == [("t0", 0, 3), ("t1", 4, 4), ("t2", 3, 2)]


def test_start_outside_the_pool_is_refused() -> None:
    """Never reduced silently."""
    with pytest.raises(PlanError) as caught:
        Global(start={"t*": 5}).layout(blocks_of(3), 5)

    assert str(caught.value) == (
        "start: t0 is to start at 5, but the pool has 5 backing weights (0 … 4)"
    )


def test_the_mean_by_hand() -> None:
    """Ten weights on a ring of four: the first two are read thrice, the rest twice."""
    table = Global().layout(blocks_of(10), 4)
    projection = Global().project(table, np.dtype("<f4"))
    projection.add(table.slices[0], 0, np.arange(7, dtype="<f4"))
    projection.add(table.slices[0], 7, np.arange(7, 10, dtype="<f4"))

    assert projection.finish().tolist() == [4.0, 5.0, 4.0, 5.0]


def test_a_backing_weight_nobody_reads_is_zero() -> None:
    """Rounding may leave the pool longer than what reads it."""
    table = Global().layout(blocks_of(2), 4)
    projection = Global().project(table, np.dtype("<f4"))
    projection.add(table.slices[0], 0, np.array([1, 2], "<f4"))

    assert projection.finish().tolist() == [1.0, 2.0, 0.0, 0.0]


def test_decompression_by_hand() -> None:
    """Nothing is multiplied, and all is read as it lies."""
    table = Global().layout(blocks_of(3, 4, 9, 2), 5)

    assert Global().multiplications(table) == 0
    assert Global().random_accesses(table) == 0
