"""Pages laid side by side: what they show, how long they live, what replaces them."""

from __future__ import annotations

import errno
import mmap
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.handmade import (
    EVERYTHING,
    PAGE,
    PER_PAGE,
    kept,
    plan_of,
    plans,
    pooled,
    write,
)
from wpack import address_space, container, ring
from wpack.address_space import Segment, map_segments
from wpack.backends import BACKENDS, CAN_MAP
from wpack.container import Container
from wpack.errors import FormatError
from wpack.inputs import read_into
from wpack.plan import Plan, TensorPlan
from wpack.ring import Memory, append_head
from wpack.tensors import BY_NAME

needs_maps = pytest.mark.skipif(not CAN_MAP, reason="no rings on this system")


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[int]:
    """A descriptor of a file of four pages, each filled with its number."""
    path = tmp_path / "pages"
    path.write_bytes(b"".join(bytes([n]) * PAGE for n in range(4)) + b"tail")
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def everything(tmp_path: Path) -> Iterator[Container]:
    """An open file with one of everything."""
    write(tmp_path / "everything.wpool", EVERYTHING)
    with container.read(tmp_path / "everything.wpool") as file:
        yield file


def refusing(number: int, *kinds: str) -> Callable[..., mmap.mmap]:
    """A system that refuses maps of these kinds, ``private`` or ``shared``."""

    def mapping(segments: Sequence[Segment], *, shared: bool) -> mmap.mmap:
        if ("shared" if shared else "private") in kinds:
            raise OSError(number, os.strerror(number))
        return map_segments(segments, shared=shared)

    return mapping


def loaded(memory: Memory, plan: TensorPlan) -> np.ndarray:
    """A tensor's elements, in whatever way it lies in memory."""
    if plan.name in memory.residence.views:
        pool, first = memory.residence.views[plan.name]
        buffer, begin = memory.pool(pool)
        begin += first * plan.info.dtype.itemsize
    else:
        buffer, begin = memory.tensor(plan)
    return np.frombuffer(buffer, plan.info.dtype.raw, plan.info.numel, begin)


@needs_maps
def test_segments_lie_back_to_back(pages: int) -> None:
    """A segment after another, the same one twice, and one that ends inside a page."""
    segments = [Segment(pages, at * PAGE, PAGE) for at in (2, 0, 2, 2)]
    buffer = map_segments([*segments, Segment(pages, 3 * PAGE, PAGE + 4)], shared=False)

    expected = b"".join(bytes([n]) * PAGE for n in (2, 0, 2, 2, 3)) + b"tail"
    assert expected == bytes(buffer)


@needs_maps
def test_private_writes_stay_in_their_page(pages: int) -> None:
    """Without sharing, a write reaches neither the file nor the page's other lap."""
    array = np.frombuffer(
        map_segments([Segment(pages, 0, PAGE)] * 2, shared=False), "u1"
    )
    array[0] = 77

    assert [77, 0] == [array[0], array[PAGE]]
    assert b"\0" == os.pread(pages, 1, 0)


@needs_maps
def test_shared_writes_reach_every_lap() -> None:
    """With sharing, every lap shows what was written to one."""
    fd = os.memfd_create("test")
    os.ftruncate(fd, PAGE)
    array = np.frombuffer(map_segments([Segment(fd, 0, PAGE)] * 3, shared=True), "u1")
    os.close(fd)
    array[PAGE + 5] = 77

    assert [77] * 3 == [array[5], array[PAGE + 5], array[2 * PAGE + 5]]


@needs_maps
def test_maps_live_as_long_as_what_is_made_from_them(pages: int) -> None:
    """The last array or tensor over a map takes it along; none is left behind."""

    def maps() -> int:
        lines = Path("/proc/self/maps").read_text().splitlines()
        return sum(str(os.fstat(pages).st_ino) in line.split() for line in lines)

    buffer = map_segments([Segment(pages, 0, PAGE)] * 3, shared=False)
    tensor = torch.frombuffer(buffer, dtype=torch.uint8)[PAGE : PAGE + 2].view(2, 1)
    array = np.frombuffer(buffer, "u1")[-1:]
    assert maps() == 3
    del buffer
    assert maps() == 3
    del tensor
    assert maps() == 3
    del array
    assert maps() == 0


@needs_maps
def test_nothing_stays_mapped_after_a_refusal(pages: int) -> None:
    """A segment that cannot be mapped raises, and frees those before it."""
    before = Path("/proc/self/maps").read_text().count("/pages\n")
    with pytest.raises(OSError, match="Bad file descriptor") as refused:
        map_segments([Segment(pages, 0, PAGE), Segment(-1, 0, PAGE)], shared=False)

    del refused
    assert before == Path("/proc/self/maps").read_text().count("/pages\n")


@given(st.integers(1, 9), st.integers(0, 60))
def test_append_head_repeats(backing: int, more: int) -> None:
    """What follows the pool is the pool again, for numpy and torch alike."""
    array = np.arange(backing + more)
    array[backing:] = -1
    tensor = torch.from_numpy(array.copy())
    append_head(array, backing)
    append_head(tensor, backing)

    expected = list(np.resize(np.arange(backing), backing + more))
    assert expected == list(array)
    assert expected == tensor.tolist()


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_holds_what_the_plan_says(backend: str, tmp_path: Path) -> None:
    """Every tensor of every kind, bit for bit, on every backend, without torch."""
    expected = write(tmp_path / "e.wpool", EVERYTHING)
    with container.read(tmp_path / "e.wpool") as file:
        memory = ring.load(file, backend=backend)
        for name in set(expected) - {"tied"}:
            assert (
                expected[name].tobytes()
                == loaded(memory, EVERYTHING.by_name[name]).tobytes()
            ), name

    assert memory.copied_nbytes == memory.residence.copied_nbytes


@settings(max_examples=40)
@given(plans())
def test_memory_of_any_plan(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan
) -> None:
    """Rings, stitched and joined parts, whole pages or not: all as indices say."""
    path = tmp_path_factory.mktemp("ring") / "f.wpool"
    expected = write(path, plan)
    with container.read(path) as file:
        for backend in BACKENDS:
            memory = ring.load(file, backend=backend)
            for name in expected:
                found = loaded(memory, plan.by_name[name])
                assert expected[name].tobytes() == found.tobytes(), (backend, name)
            assert memory.copied_nbytes == memory.residence.copied_nbytes


def test_pages_are_filled_for_stitching_alone(tmp_path: Path) -> None:
    """A pool that has to be a buffer can still lend its pages to a stitched tensor."""
    plan = plan_of(
        {"a": PER_PAGE, "odd": PER_PAGE + 3},
        pooled("wraps", (9,), ("odd", PER_PAGE)),
        pooled("stitched", (PER_PAGE + 5,), ("a", 0, PER_PAGE), ("odd", 0, 5)),
    )
    expected = write(tmp_path / "w.wpool", plan)
    with container.read(tmp_path / "w.wpool") as file:
        for backend in BACKENDS:
            memory = ring.load(file, backend=backend)
            assert backend == "copy" or "stitched" in memory.residence.stitched
            for name in ("stitched", "wraps"):
                found = loaded(memory, plan.by_name[name])
                assert expected[name].tobytes() == found.tobytes(), (backend, name)


@needs_maps
def test_only_what_is_asked_for_is_read(
    everything: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``memfd`` and ``copy`` read a pool when a tensor of it is taken, and once."""
    read: list[int] = []
    real = read_into

    def counting(fd: int, room: np.ndarray, at_byte: int, where: str) -> None:
        read.append(len(room))
        real(fd, room, at_byte, where)

    monkeypatch.setattr(ring, "read_into", counting)
    memory = ring.load(everything, backend="memfd")
    assert read == []
    loaded(memory, EVERYTHING.by_name["wraps"])
    loaded(memory, EVERYTHING.by_name["plain"])
    assert read == [4 * PAGE]
    loaded(memory, EVERYTHING.by_name["stitched"])
    loaded(memory, EVERYTHING.by_name["long"])
    assert read == [4 * PAGE, 2 * PAGE]
    monkeypatch.setattr(ring, "map_segments", refusing(errno.EIO, "private", "shared"))
    loaded(ring.load(everything, backend="copy"), EVERYTHING.by_name["plain"])
    assert read == [4 * PAGE, 2 * PAGE, 4 * PAGE]


@needs_maps
@pytest.mark.parametrize(
    "number", [errno.ENODEV, errno.ENOMEM, errno.EACCES, errno.EINVAL]
)
def test_refused_backends_fall_to_the_next(
    everything: Container, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where maps are refused: one warning, and the next backend."""
    monkeypatch.setattr(ring, "map_segments", refusing(number, "private"))
    with pytest.warns(RuntimeWarning) as first:
        memory = ring.load(everything)
    monkeypatch.setattr(ring, "map_segments", refusing(number, "private", "shared"))
    with pytest.warns(RuntimeWarning) as second:
        worst = ring.load(everything, backend="memfd")

    why = os.strerror(number)
    assert memory.residence.backend == "memfd"
    assert [str(w.message) for w in first] == [
        f"{everything.path}: backend mmap does not work here ({why}); using memfd"
    ]
    assert worst.residence.backend == "copy"
    assert [str(w.message) for w in second] == [
        f"{everything.path}: backend memfd does not work here ({why}); using copy"
    ]


@needs_maps
def test_without_files_in_memory(
    everything: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old C library has no ``memfd_create``: that backend falls to the next."""
    monkeypatch.delattr(os, "memfd_create")
    with pytest.warns(RuntimeWarning) as warned:
        memory = ring.load(everything, backend="memfd")

    assert "copy" == memory.residence.backend
    assert [
        f"{everything.path}: backend memfd does not work here (Function not"
        " implemented); using copy"
    ] == [str(w.message) for w in warned]


@needs_maps
def test_remote_files_are_not_mapped(
    everything: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a network ``auto`` reads the pools; ``mmap`` does as it is told."""
    assert not address_space.is_remote(everything.fileno())
    assert not address_space.is_remote(-1)
    status = subprocess.run(
        ["stat", "-f", "-c", "%t", everything.path],
        capture_output=True,
        text=True,
        check=True,
    )
    monkeypatch.setitem(address_space._REMOTE, int(status.stdout, 16), "this one")

    assert address_space.is_remote(everything.fileno())
    assert ring.load(everything).residence.backend == "memfd"
    assert ring.load(everything, backend="mmap").residence.backend == "mmap"


@needs_maps
def test_truncation_kills_only_maps_of_the_file(tmp_path: Path) -> None:
    """A file cut short under its map is SIGBUS; ``memfd`` has read it before."""
    plan = plan_of({"p": PER_PAGE}, pooled("w", (9, 9), ("p", 0)))
    write(tmp_path / "w.wpool", plan)
    script = """
import os, sys, numpy as np
from wpack import address_space, container, ring
path, backend = sys.argv[1:]
with container.read(path) as file:
    buffer, begin = ring.load(file, backend=backend).pool(0)
os.truncate(path, 0)
print(np.frombuffer(buffer, "<f4", 81, begin).sum())
"""
    status = {}
    for backend in ("memfd", "mmap"):
        (tmp_path / backend).write_bytes((tmp_path / "w.wpool").read_bytes())
        command = [sys.executable, "-c", script, str(tmp_path / backend), backend]
        done = subprocess.run(command, capture_output=True, check=False)
        status[backend] = done.returncode

    assert status == {"memfd": 0, "mmap": -7}


def test_no_maps_without_linux(
    everything: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere nothing of the system is used but reading, and nothing is said."""
    monkeypatch.setattr("wpack.backends.CAN_MAP", False)
    monkeypatch.setattr(address_space, "_libc", None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        memory = ring.load(everything, backend="mmap")

    assert memory.residence.backend == "copy"
    assert loaded(memory, EVERYTHING.by_name["wraps"]).size == 2 * PER_PAGE


@pytest.mark.parametrize("backend", BACKENDS)
def test_odd_bools_are_refused(tmp_path: Path, backend: str) -> None:
    """A kept BOOL of 2 would be true and equal to neither true nor false."""
    plan = plan_of({}, kept("mask", (3,), BY_NAME["bool"]))
    write(tmp_path / "w.wpool", plan)
    raw = (tmp_path / "w.wpool").read_bytes()
    (tmp_path / "w.wpool").write_bytes(raw[:-1] + b"\2")
    with container.read(tmp_path / "w.wpool") as file:
        memory = ring.load(file, backend=backend)
        with pytest.raises(FormatError) as caught:
            memory.tensor(plan.by_name["mask"])

    assert str(caught.value) == (
        f"{tmp_path / 'w.wpool'}: tensor 'mask': element 2 is the BOOL 2, neither 0"
        " nor 1"
    )
