"""The stretches of a pool that the same tensors read."""

from __future__ import annotations

from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from wpack.plan import Plan
from wpack.report.sharing import (
    Reader,
    Stretch,
    number_of_stretches,
    of_file,
    of_pool,
    stretches,
)
from wpack.stats import FileStats

pools = st.integers(1, 12).flatmap(
    lambda backing: st.tuples(
        st.just(backing),
        st.lists(
            st.builds(
                Reader,
                st.sampled_from(["a", "b", "c"]),
                st.integers(0, backing - 1),
                st.integers(0, 40),
            ),
            max_size=6,
        ),
    )
)


@given(pools)
def test_stretches_are_the_readers(pool: tuple[int, list[Reader]]) -> None:
    """They tile the pool, and each names whom reading weight by weight finds."""
    backing, readers = pool
    found = list(stretches(readers, backing))
    by_weight: list[dict[str, int]] = [{} for _ in range(backing)]
    for reader in readers:
        for i in range(reader.length):
            counts = by_weight[(reader.start + i) % backing]
            counts[reader.label] = counts.get(reader.label, 0) + 1
    spread = [s.readers for s in found for _ in range(s.length)]

    assert [s.start for s in found] == [
        sum(t.length for t in found[:i]) for i in range(len(found))
    ]
    assert by_weight == spread
    assert number_of_stretches(readers, backing) == len(found)


def test_a_ring(plan: Plan) -> None:
    """Two tensors of 8 on a ring of 12 share the first 4 weights."""
    (pool,) = plan.pools
    expected = [
        Stretch(0, 4, {"blocks.0.fc.weight": 1, "blocks.1.fc.weight": 1}),
        Stretch(4, 4, {"blocks.0.fc.weight": 1}),
        Stretch(8, 4, {"blocks.1.fc.weight": 1}),
    ]

    assert expected == list(stretches(of_pool(pool), pool.backing))


def test_long_slices_cost_nothing() -> None:
    """A tensor a billion laps long is two stretches and not a billion steps."""
    readers = [Reader("w", 3, 10**10 + 2)]
    expected = [
        Stretch(0, 3, {"w": 10**9}),
        Stretch(3, 2, {"w": 10**9 + 1}),
        Stretch(5, 5, {"w": 10**9}),
    ]

    assert expected == list(stretches(readers, 10))


def test_only_what_is_shown_is_made() -> None:
    """The first stretches of many come without the others."""
    readers = [Reader(f"t{i}", i, 100_000) for i in range(2000)]
    shown = list(islice(stretches(readers, 200_000), 3))

    assert [s.reads for s in shown] == [1, 2, 3]


def test_read_by() -> None:
    """Names are gathered, and more than one lap is said."""
    stretch = Stretch(0, 4, {"b.0.w": 1, "long": 3, "b.1.w": 1})

    assert stretch.read_by == "b.{0-1}.w; long (3 times)"
    assert stretch.reads == 5


def test_of_file(packed: FileStats) -> None:
    """A file's parts tell the same without its plan."""
    expected = [
        Reader("blocks.0.qkv.weight", 0, 16),
        Reader("blocks.1.fc.weight", 16, 32),
    ]

    assert expected == of_file(packed, "mlp")
