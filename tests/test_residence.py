"""What is a view, what is copied and why: decided from the plan alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.blobs import needs
from tests.handmade import (
    CODED,
    EVERYTHING,
    PAGE,
    PER_PAGE,
    Read,
    plan_of,
    plans,
    pooled,
)
from wpack import backends as module
from wpack.backends import BACKENDS, candidates
from wpack.errors import UsageError
from wpack.plan import Plan
from wpack.residence import PoolResidence, Run, residence
from wpack.techniques import named

BLOCK = 4096
PER_BLOCK = BLOCK // 4


def test_everything_on_maps() -> None:
    """Wraps, long slices and parts that meet on pages are views; the rest is not."""
    found = residence(EVERYTHING, backend="mmap")

    assert found.pools == (
        PoolResidence("ring", 5 * PER_PAGE, laps=2),
        PoolResidence("ring", 9 * PER_PAGE + 5, laps=5),
    )
    assert found.views == {
        "wraps": (0, 3 * PER_PAGE),
        "long": (1, 5),
        "plain": (0, 17),
        "whole": (0, 0),
    }
    assert found.stitched == {
        "stitched": (
            Run(0, PAGE + 24, 2 * PAGE - 24),
            Run(1, PAGE, PAGE),
            Run(1, 0, 2 * PAGE),
            Run(1, 0, 4),
        )
    }
    assert found.copied == {
        "joined": "joins parts that do not meet where pages do",
        "cast": "is bfloat16, its pool 'a' float32",
    }
    assert found.copied_nbytes == 7 * 4 + 12 * 2


def test_everything_copied() -> None:
    """Without maps, what wraps is appended to its pool and parts are joined."""
    found = residence(EVERYTHING, backend="copy")
    tails = (PER_PAGE, 7 * PER_PAGE + 5)

    assert [pool.form for pool in found.pools] == ["buffer", "buffer"]
    assert [pool.copied_nbytes for pool in found.pools] == [4 * n for n in tails]
    assert found.stitched == {}
    assert found.copied == {
        "wraps": "wraps, and backend copy maps nothing",
        "long": "wraps, and backend copy maps nothing",
        "stitched": "joins parts, and backend copy maps nothing",
        "joined": "joins parts, and backend copy maps nothing",
        "cast": "is bfloat16, its pool 'a' float32",
    }
    stitched = 5 * (PER_PAGE - 1) * 4
    assert found.copied_nbytes == 4 * sum(tails) + stitched + 7 * 4 + 12 * 2


@pytest.mark.parametrize(
    ("backing", "alignment", "page", "backend", "why"),
    [
        (PER_BLOCK, 65536, BLOCK, "mmap", ""),
        (PER_BLOCK, 4096, BLOCK, "mmap", ""),
        (PER_BLOCK, 64, BLOCK, "memfd", ""),
        (
            PER_BLOCK,
            64,
            BLOCK,
            "mmap",
            "pools start on 64 bytes, not on pages of 4096",
        ),
        (
            PER_BLOCK,
            4096,
            4 * BLOCK,
            "mmap",
            "pools start on 4096 bytes, not on pages of 16384",
        ),
        (
            PER_BLOCK,
            4096,
            4 * BLOCK,
            "memfd",
            "pool 'p' has 4096 bytes, not whole pages of 16384",
        ),
        (
            PER_BLOCK + 16,
            65536,
            BLOCK,
            "mmap",
            "pool 'p' has 4160 bytes, not whole pages of 4096",
        ),
    ],
)
def test_where_a_ring_is_possible(
    backing: int, alignment: int, page: int, backend: str, why: str
) -> None:
    """A pool that wraps needs whole pages, and to start on one unless we place it."""
    plan = plan_of(
        {"p": backing}, pooled("w", (40,), ("p", backing - 8)), alignment=alignment
    )
    found = residence(plan, backend=backend, page_nbytes=page)

    (pool,) = found.pools
    assert pool.form == ("buffer" if why else "ring")
    assert pool.why_no_ring == why
    assert found.copied == ({"w": f"wraps, and {why}"} if why else {})
    assert found.copied_nbytes == (32 * 4 if why else 0)


def test_misaligned_pool_without_wraps_is_mapped() -> None:
    """A pool that nothing reads past its end needs no pages of its own."""
    plan = plan_of({"p": 50}, pooled("w", (5, 8), ("p", 10)), alignment=64)
    found = residence(plan, backend="mmap")

    assert found.pools == (PoolResidence("map", 50),)
    assert found.copied == {}
    assert found.copied_nbytes == 0


@pytest.mark.parametrize(("laps", "form"), [(4096, "ring"), (4097, "buffer")])
def test_rings_have_a_limit(laps: int, form: str) -> None:
    """Linux allows a process 65,530 maps, so a pool read too often round is copied."""
    plan = plan_of({"p": PER_BLOCK}, pooled("w", (laps, PER_BLOCK), ("p", 0)))
    (pool,) = residence(plan, backend="mmap", page_nbytes=BLOCK).pools

    assert pool.form == form
    assert pool.why_no_ring == (
        "pool 'p' is read 4097 times round, over 4096" if form == "buffer" else ""
    )


def test_parts_that_follow_one_another_are_one_view() -> None:
    """Fused parts from one pool are one range, even past the pool's end."""
    plan = plan_of(
        {"p": PER_BLOCK},
        pooled("qkv", (6, 100), ("p", 600, 200), ("p", 800, 224), ("p", 0, 176)),
    )
    found = residence(plan, backend="mmap", page_nbytes=BLOCK)

    assert found.views == {"qkv": (0, 600)}
    assert found.pools == (PoolResidence("ring", 1200, laps=2),)
    assert found.copied == {}


@pytest.mark.parametrize(
    ("first", "second", "stitched"),
    [
        (("a", 100, 924), ("b", 0, 1), True),
        (("a", 0, 1024), ("b", 1024, 1024), True),
        (("a", 0, 1024), ("a", 0, 1024), True),
        (("a", 0, 1023), ("b", 0, 1024), False),
        (("a", 0, 1024), ("b", 1, 1024), False),
        (("a", 0, 1024), ("b", 1024, 1025), True),
        (("a", 0, 1024), ("odd", 0, 1030), True),
        (("a", 0, 1024), ("odd", 0, 1031), False),
        (("odd", 6, 1024), ("a", 0, 1024), False),
    ],
)
def test_where_parts_are_stitched(first: Read, second: Read, stitched: bool) -> None:
    """Between parts there must be a page's edge in both pools."""
    numel = first[-1] + second[-1]
    plan = plan_of(
        {"a": PER_BLOCK, "b": 2 * PER_BLOCK, "odd": PER_BLOCK + 6},
        pooled("w", (numel,), first, second),
    )
    found = residence(plan, backend="mmap", page_nbytes=BLOCK)
    twin = first == second

    assert bool(found.stitched) == (stitched and not twin)
    assert found.views == ({"w": (0, 0)} if twin else {})
    assert bool(found.copied) != stitched


def test_stitching_has_a_limit() -> None:
    """A tensor of thousands of laps is joined by copying."""
    plan = plan_of(
        {"a": PER_BLOCK, "b": PER_BLOCK},
        pooled("w", (5001, PER_BLOCK), ("a", 0, PER_BLOCK), ("b", 0, 5000 * PER_BLOCK)),
    )
    found = residence(plan, backend="mmap", page_nbytes=BLOCK)

    assert found.stitched == {}
    assert found.copied_nbytes == 5001 * BLOCK


def test_computed_tensors_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A technique that computes gives no views."""
    monkeypatch.setattr(named("global"), "zero_copy", False)
    plan = plan_of({"p": 8}, pooled("w", (3, 5), ("p", 2)))
    found = residence(plan, backend="mmap")

    assert found.copied == {"w": "technique global computes it"}
    assert found.copied_nbytes == 60
    assert found.pools == (PoolResidence("map", 8),)


@given(plans(BLOCK), st.sampled_from(BACKENDS))
def test_every_tensor_lies_somewhere(plan: Plan, backend: str) -> None:
    """A tensor is a view within its pool's extent, stitched, or copied whole."""
    found = residence(plan, backend=backend, page_nbytes=BLOCK)

    whole = set(found.copied) - set(found.views)
    assert set(found.views) | set(found.stitched) | whole == set(plan.by_name)
    assert not set(found.stitched) & (set(found.views) | whole)
    for name, (pool, first) in found.views.items():
        assert first + plan.by_name[name].info.numel <= found.pools[pool].extent
    assert found.copied_nbytes == sum(p.copied_nbytes for p in found.pools) + sum(
        plan.by_name[name].info.nbytes for name in whole
    )


def test_auto_is_what_loading_tries_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way of asking narrows the backends; ``copy`` always remains."""
    monkeypatch.delenv("WPACK_NO_MMAP", raising=False)
    monkeypatch.setattr(module, "CAN_MAP", True)

    assert candidates("auto") == ("mmap", "memfd", "copy")
    assert candidates("mmap") == ("mmap", "memfd", "copy")
    assert candidates("memfd") == ("memfd", "copy")
    assert candidates("copy") == ("copy",)
    assert candidates("auto", writable=True) == ("memfd", "copy")
    assert residence(EVERYTHING).backend == "mmap"
    monkeypatch.setenv("WPACK_NO_MMAP", "1")
    assert candidates("auto") == ("memfd", "copy")
    assert residence(EVERYTHING).backend == "memfd"
    monkeypatch.setattr(module, "CAN_MAP", False)
    assert candidates("auto") == ("copy",)
    assert candidates("memfd") == ("copy",)


@needs("int, zstd")
def test_decoded_bytes() -> None:
    """Of coded pools and groups, once, whatever is made of them."""
    found = residence(CODED, backend="memfd")

    assert residence(EVERYTHING, backend="memfd").decoded_nbytes == 0
    assert found.decoded_nbytes == 4 * PAGE + 5 * 4 + 112 * 2


def test_backends_that_may_not_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contradictory wishes are refused with the way out."""
    monkeypatch.delenv("WPACK_NO_MMAP", raising=False)
    with pytest.raises(UsageError) as unknown:
        residence(EVERYTHING, backend="mmapp")
    with pytest.raises(UsageError) as writable:
        candidates("mmap", writable=True)
    monkeypatch.setenv("WPACK_NO_MMAP", "1")
    with pytest.raises(UsageError) as forbidden:
        candidates("mmap")
    monkeypatch.setenv("WPACK_NO_MMAP", "yes")
    with pytest.raises(UsageError) as odd:
        candidates("auto")

    assert str(unknown.value) == (
        "there is no backend 'mmapp' (there are: auto, mmap, memfd, copy)"
    )
    assert str(writable.value) == (
        "backend mmap cannot be writable: a write would reach one tensor and not those"
        " that share the weight. Use backend memfd or auto"
    )
    assert str(forbidden.value) == "backend mmap is forbidden by WPACK_NO_MMAP=1"
    assert str(odd.value) == "WPACK_NO_MMAP must be 0 or 1, got 'yes'"
