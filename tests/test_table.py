"""Slice tables: wrap arithmetic and reuse counts against slow, obvious forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wpack.table import Block, Run, SliceTable, block_shape


def whole(name: str, numel: int) -> Block:
    """A flat tensor as one block."""
    return Block(name, (numel,), 0, numel, "")


@st.composite
def tables(draw: st.DrawFn) -> SliceTable:
    """Any slices over any pool: wrapping, overlapping, many laps long."""
    backing = draw(st.integers(1, 40))
    ranges = draw(st.lists(st.tuples(st.integers(0, backing - 1), st.integers(1, 130))))
    return SliceTable(
        backing,
        tuple(
            whole(f"t{i}", length).reading(start, length)
            for i, (start, length) in enumerate(ranges)
        ),
    )


@given(tables())
def test_pieces_are_the_circular_read(table: SliceTable) -> None:
    """The stretches of a slice, joined, are (start + i) mod backing."""
    for piece in table.slices:
        read = [
            start + i for start, _, length in table.pieces(piece) for i in range(length)
        ]

        assert [(piece.start + i) % table.backing for i in range(piece.length)] == read


@given(tables())
def test_pieces_are_numbered_from_the_slice_start(table: SliceTable) -> None:
    """Each stretch says where in the slice it stands."""
    for piece in table.slices:
        position = 0
        for _, at, length in table.pieces(piece):
            assert position == at

            position += length

        assert piece.length == position


@given(tables())
def test_reuse_counts_every_read(table: SliceTable) -> None:
    """Runs tile the pool and count as many reads as a plain histogram does."""
    counts = np.zeros(table.backing, int)
    for piece in table.slices:
        np.add.at(counts, (piece.start + np.arange(piece.length)) % table.backing, 1)
    runs = table.reuse()

    assert counts.tolist() == [run.count for run in runs for _ in range(run.length)]
    assert [run.start for run in runs] == np.cumsum(
        [0, *(run.length for run in runs[:-1])]
    ).tolist()


@given(tables())
def test_reuse_runs_are_maximal(table: SliceTable) -> None:
    """Neighbouring runs differ in count."""
    counts = [run.count for run in table.reuse()]

    assert all(a != b for a, b in pairwise(counts))


def test_reuse_by_hand() -> None:
    """Ten weights on a ring of four: two laps and a half, the first half thrice."""
    table = SliceTable(4, (whole("a", 10).reading(0, 10),))

    assert (Run(0, 2, 3), Run(2, 2, 2)) == table.reuse()
    assert table.wraps
    assert table.extent == 10
    assert table.working == 10


def test_a_slice_that_ends_at_the_end_does_not_wrap() -> None:
    """Ending exactly at the pool's end is no wrap."""
    table = SliceTable(6, (whole("a", 4).reading(2, 4),))

    assert not table.wraps
    assert table.extent == 6


def test_a_pool_is_as_long_as_it_is() -> None:
    """Values that no slice reads count, and are read no times."""
    table = SliceTable(6, (whole("a", 2).reading(1, 2),))

    assert 6 == table.extent
    assert (Run(0, 1, 0), Run(1, 2, 1), Run(3, 3, 0)) == table.reuse()
    assert (Run(0, 6, 0),) == SliceTable(6, ()).reuse()


def test_block_shape_keeps_rows() -> None:
    """Whole rows keep the trailing dimensions; other cuts are flat."""
    assert block_shape((6, 2, 3), 36) == (6, 2, 3)
    assert block_shape((6, 2, 3), 12) == (2, 2, 3)
    assert block_shape((6, 2, 3), 7) == (7,)
    assert np.zeros(12).reshape(block_shape((6, 2, 3), 12)).shape == (2, 2, 3)


def test_block_shape_without_rows() -> None:
    """Scalars, and tensors whose rows are empty, have no rows to count."""
    assert block_shape((), 1) == ()
    assert block_shape((3, 0), 0) == (3, 0)
    assert block_shape((3, 0), 2) == (2,)
    assert block_shape((8,), 3) == (3,)


def test_cut_blocks() -> None:
    """A cut of a part stands where it stood, with the part's name."""
    part = Block("w", (4, 3), 12, 12, "k")

    assert Block("w", (2, 3), 15, 6, "k") == part.cut((8, 3), 3, 6)
    assert Block("w", (8, 3), 12, 24, "k") == part.cut((8, 3), 0, 24)


def test_working_weights_before_a_slice() -> None:
    """They are counted through the table, tensor by tensor and part by part."""
    blocks = (
        Block("a", (4,), 0, 4, "q"),
        Block("b", (9,), 0, 9, ""),
        Block("a", (3,), 4, 3, "k"),
    )
    table = SliceTable(5, tuple(block.reading(2, 3) for block in blocks))

    assert [0, 4, 13] == [table.made_before(piece) for piece in table.slices]
    assert 16 == table.working


def test_labels() -> None:
    """A part is named tensor#part."""
    assert whole("w", 4).label == "w"
    assert Block("w", (2, 2), 4, 4, "k").label == "w#k"
    assert Block("w", (2, 2), 4, 4, "k").reading(0, 4).label == "w#k"
