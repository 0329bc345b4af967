"""Tensors that are views of the file: their bits, their lifetime, their sharing."""

from __future__ import annotations

import copy
import gc
import io
import pickle
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from tests.handmade import (
    EVERYTHING,
    PAGE,
    PER_PAGE,
    alias,
    kept,
    plan_of,
    pooled,
    write,
    write_stored,
)
from tests.handmade import expected as expected_raw
from tests.pool_files import pool_files
from wpack import backends, pool_file, residence
from wpack.backends import BACKENDS, CAN_MAP
from wpack.errors import FormatError, UsageError
from wpack.loader import load_file
from wpack.loader import open as open_pool_file
from wpack.plan import Plan
from wpack.stats import Loaded
from wpack.techniques import named
from wpack.tensors import BY_NAME, DType

needs_maps = pytest.mark.skipif(not CAN_MAP, reason="no rings on this system")


def bits(tensor: torch.Tensor) -> bytes:
    """A tensor's elements as they lie in memory."""
    flat = tensor.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A file with one of everything."""
    write(tmp_path / "everything.wpool", EVERYTHING)
    return tmp_path / "everything.wpool"


@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_has_its_bits(tmp_path: Path, backend: str) -> None:
    """Names, order, dtypes, shapes and bits are the checkpoint's on every backend."""
    path = tmp_path / "e.wpool"
    expected = write(path, EVERYTHING)
    with open_pool_file(path, backend=backend) as file:
        tensors = {name: file.get_tensor(name) for name in file}
        assert backend == file.backend
        assert file.residence.copied_nbytes == file.copied_nbytes
        assert list(expected) == file.keys()
        assert len(expected) == len(file)
        assert "wraps" in file
        assert "wpool" == file.metadata["format"]
        assert str(path) == file.path

    assert tensors["tied"] is tensors["wraps"]
    for info in (t.info for t in EVERYTHING.tensors):
        assert tensors[info.name].shape == info.shape
        assert tensors[info.name].dtype == getattr(torch, info.dtype.name)
        assert tensors[info.name].is_contiguous()
        assert expected[info.name].tobytes() == bits(tensors[info.name]), info.name


@needs_maps
@pytest.mark.parametrize("backend", ["mmap", "memfd"])
def test_wrapping_and_long_slices_copy_nothing(tmp_path: Path, backend: str) -> None:
    """A layer four times its pool and slices that wrap are views of the pool."""
    plan = plan_of(
        {"p": 2 * PER_PAGE},
        pooled("long", (8, PER_PAGE), ("p", 0)),
        pooled("wraps", (2, PER_PAGE), ("p", PER_PAGE + 7)),
        kept("bias", (3,)),
    )
    expected = write(tmp_path / "w.wpool", plan)
    with open_pool_file(tmp_path / "w.wpool", backend=backend) as file:
        tensors = {name: file.get_tensor(name) for name in file}
        assert file.residence.copied == {}
        assert 0 == file.copied_nbytes

    assert expected["long"].tobytes() == bits(tensors["long"])
    assert expected["wraps"].tobytes() == bits(tensors["wraps"])
    distance = tensors["wraps"].data_ptr() - tensors["long"].data_ptr()
    assert PAGE + 28 == distance


@settings(max_examples=25)
@given(pool_files())
def test_backends_agree(drawn: tuple[Plan, dict[str, np.ndarray]]) -> None:
    """Any file loads as its indices say, with the same bits from all backends."""
    plan, stored = drawn
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "f.wpool"
        write_stored(path, plan, stored)
        for backend in BACKENDS:
            with open_pool_file(path, backend=backend) as file:
                for name in file:
                    raw = expected_raw(plan, name, stored)
                    assert raw.tobytes() == bits(file.get_tensor(name)), name
                assert file.residence.copied_nbytes == file.copied_nbytes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [d for d in BY_NAME.values() if d.poolable], ids=str)
def test_pools_of_every_dtype(tmp_path: Path, backend: str, dtype: DType) -> None:
    """bf16, fp16, fp32 and fp64 pools are views alike."""
    numel = PAGE // dtype.itemsize
    plan = plan_of(
        {"p": numel}, pooled("w", (3, numel), ("p", 1), dtype=dtype), dtype=dtype
    )
    expected = write(tmp_path / "w.wpool", plan)
    found = load_file(tmp_path / "w.wpool", backend=backend)["w"]

    assert getattr(torch, dtype.name) == found.dtype
    assert expected["w"].tobytes() == bits(found)


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (3, 1, 2, 5)], ids=str)
def test_pooled_tensors_of_every_rank(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A view has its tensor's shape, laid out row by row, whatever the rank."""
    plan = plan_of({"p": PER_PAGE}, pooled("w", shape, ("p", 3)))
    expected = write(tmp_path / "w.wpool", plan)
    found = load_file(tmp_path / "w.wpool")["w"]

    assert shape == found.shape
    assert torch.empty(shape).stride() == found.stride()
    assert expected["w"].tobytes() == bits(found)


@pytest.mark.parametrize("backend", BACKENDS)
def test_kept_tensors_of_every_kind(tmp_path: Path, backend: str) -> None:
    """Every dtype, scalars and tensors without elements come back as they were."""
    every = [kept(dtype.name, (2, 3), dtype) for dtype in BY_NAME.values()]
    plan = plan_of({}, *every, kept("scalar", ()), kept("empty", (3, 0)))
    expected = write(tmp_path / "k.wpool", plan)
    found = load_file(tmp_path / "k.wpool", backend=backend)

    assert list(expected) == list(found)
    for info in (t.info for t in plan.tensors):
        assert found[info.name].shape == info.shape
        assert found[info.name].dtype == getattr(torch, info.dtype.name)
        assert expected[info.name].tobytes() == bits(found[info.name]), info.name


@needs_maps
def test_what_was_taken_is_accounted_for(everything: Path) -> None:
    """Tensor by tensor: views, computed ones with their time, each once, and still
    after the file is closed."""
    with open_pool_file(everything, backend="mmap") as file:
        assert Loaded(0, 0, 0, 0, 0, 0, 0.0, 0, 0, 0.0) == file.loaded
        file.get_tensor("tied")
        file.get_tensor("wraps")
        file.get_tensor("bias")
        assert Loaded(2, 2 * PAGE + 20, 0, 0, 0, 0, 0.0, 0, 0, 0.0) == file.loaded
        file.get_tensor("cast")
        file.get_tensor("joined")
        once = file.loaded
        file.get_tensor("cast")
        assert once == file.loaded
        file.get_tensors()
        whole = file.loaded
    file.close()

    seconds = once.computed_seconds
    assert 0 < seconds < 10
    assert Loaded(2, 2 * PAGE + 20, 0, 0, 2, 24 + 28, seconds, 52, 0, 0.0) == once
    assert whole == file.loaded
    assert (6, 0, 2) == (whole.views, whole.wrapped, whole.computed)
    assert EVERYTHING.inflated_bytes == whole.views_bytes + whole.computed_bytes


def test_appended_heads_are_copied_bytes(everything: Path) -> None:
    """Where pages cannot be laid back to back, reads that wrap are views of a pool with
    its head appended, and are told apart."""
    with open_pool_file(everything, backend="copy") as file:
        file.get_tensor("wraps")
        file.get_tensor("plain")
        loaded = file.loaded

    assert Loaded(1, 48, 1, 2 * PAGE, 0, 0, 0.0, PAGE, 0, 0.0) == loaded


def test_computed_weights_are_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A technique that computes gives tensors of their own, counted when made."""
    monkeypatch.setattr(named("global"), "zero_copy", False)
    plan = plan_of({"p": 16}, pooled("w", (3, 5), ("p", 2)), alignment=64)
    expected = write(tmp_path / "w.wpool", plan)
    with open_pool_file(tmp_path / "w.wpool") as file:
        assert 0 == file.copied_nbytes
        first, second = file.get_tensor("w"), file.get_tensor("w")
        assert 60 == file.copied_nbytes

    assert first is second
    assert expected["w"].tobytes() == bits(first)


@pytest.mark.parametrize("backend", BACKENDS)
def test_tensors_outlive_their_file(everything: Path, backend: str) -> None:
    """Neither closing, nor collecting, nor deleting the file touches a tensor."""
    with open_pool_file(everything, backend=backend) as file:
        before = {name: bits(file.get_tensor(name)) for name in file}
        tensors = {name: file.get_tensor(name) for name in file}
    del file
    everything.unlink()
    gc.collect()
    for name in list(tensors):
        assert before[name] == bits(tensors.pop(name)), name


def test_closed_file_says_so(everything: Path) -> None:
    """What has not been taken before closing cannot be taken after."""
    with open_pool_file(everything) as file:
        pass
    file.close()

    with pytest.raises(ValueError, match=r"everything\.wpool has been closed$"):
        file.get_tensor("wraps")


def test_unknown_tensor_names_the_nearest(everything: Path) -> None:
    """A misspelt name is answered with the right one."""
    with open_pool_file(everything) as file, pytest.raises(UsageError) as caught:
        file.get_tensor("stiched")

    assert str(caught.value) == (
        f"{everything}: there is no tensor 'stiched'. Did you mean 'stitched'?"
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_writing_never_reaches_the_file(everything: Path, backend: str) -> None:
    """In-place operations work on every tensor, and change memory only."""
    stored = everything.read_bytes()
    for tensor in load_file(everything, backend=backend).values():
        tensor.add_(1)

    assert stored == everything.read_bytes()


@needs_maps
def test_writable_memory_is_coherent(everything: Path) -> None:
    """Written through one tensor, a weight changes in every tensor that shares it, on
    whichever lap and also where parts are stitched."""
    with open_pool_file(everything, writable=True) as file:
        wraps, whole = file.get_tensor("wraps"), file.get_tensor("whole")
        long, stitched = file.get_tensor("long"), file.get_tensor("stitched")
        assert "memfd" == file.backend
        wraps.view(-1)[PER_PAGE + 3] = 77  # the pool's fourth weight, on its second lap
        long.view(-1)[PER_PAGE - 5] = 78  # the first weight of pool b's second page

    assert 77 == whole.view(-1)[3]
    assert 78 == stitched.view(-1)[2 * PER_PAGE - 6]
    assert 78 == long.view(-1)[3 * PER_PAGE - 5]


@needs_maps
def test_environment_forbids_maps(
    everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``WPACK_NO_MMAP=1`` keeps the file itself out of the address space."""
    monkeypatch.setenv("WPACK_NO_MMAP", "1")
    with open_pool_file(everything) as file:
        assert "memfd" == file.backend
    with pytest.raises(UsageError, match="forbidden by WPACK_NO_MMAP=1"):
        open_pool_file(everything, backend="mmap")


def test_other_systems_copy(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows load the same values."""
    expected = {name: bits(t) for name, t in load_file(everything).items()}
    monkeypatch.setattr(backends, "CAN_MAP", False)
    with open_pool_file(everything, backend="mmap") as file:
        assert "copy" == file.backend
        assert expected == {name: bits(file.get_tensor(name)) for name in file}


def test_descriptors_are_not_kept(everything: Path) -> None:
    """A refused file is closed, and so is one that has been loaded."""
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("no /proc")
    before = len(list(descriptors.iterdir()))
    kept_alive = [load_file(everything, backend=backend) for backend in BACKENDS]
    with pytest.raises(UsageError, match="no backend"):
        open_pool_file(everything, backend="tape")

    assert before == len(list(descriptors.iterdir()))
    assert 3 == len(kept_alive)


def test_working_size_is_limited(tmp_path: Path) -> None:
    """A small file that claims a huge model is refused before anything is mapped."""
    plan = plan_of({"p": 1024}, pooled("w", (9, 1024), ("p", 0)))
    write(tmp_path / "w.wpool", plan)

    with pytest.raises(FormatError, match="its working weights take 36864 bytes"):
        load_file(tmp_path / "w.wpool", max_working_bytes=36863)
    assert load_file(tmp_path / "w.wpool", max_working_bytes=36864)


def test_verify_reads_before_loading(everything: Path) -> None:
    """Damage is found before a tensor is handed out, where that is asked for."""
    raw = bytearray(everything.read_bytes())
    raw[-1] ^= 1
    everything.write_bytes(raw)

    assert load_file(everything)
    with pytest.raises(FormatError, match=re.escape(f"{everything}: tensor 'bias': ")):
        load_file(everything, verify=True)


def test_copies_keep_or_lose_the_sharing(everything: Path) -> None:
    """``deepcopy`` and ``torch.save`` of the dict keep one storage a pool; pickling
    tensors one by one does not.  Values stay either way, and nothing is mapped."""
    tensors = load_file(everything)
    copied = copy.deepcopy(tensors)
    stream = io.BytesIO()
    torch.save(tensors, stream)
    saved_nbytes = stream.tell()
    stream.seek(0)
    saved = torch.load(stream)
    pickled = pickle.loads(pickle.dumps(tensors["long"]))

    for other in (copied, saved):
        assert other["tied"].data_ptr() == other["wraps"].data_ptr()
        assert other["tied"].data_ptr() != tensors["wraps"].data_ptr()
        other["whole"].view(-1)[17] = 77
        assert 77 == other["plain"][0, 0]
        assert 77 != tensors["plain"][0, 0]
        del other["whole"], other["plain"]
        assert {n: bits(tensors[n]) for n in other} == {
            n: bits(t) for n, t in other.items()
        }
    assert saved_nbytes < 20 * PAGE + 20_000
    assert bits(tensors["long"]) == bits(pickled)


def test_devices_get_each_pool_once(
    everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device the working weights are views of one pool there, wraps appended."""
    expected = {name: bits(t) for name, t in load_file(everything).items()}
    monkeypatch.setattr(pool_file, "_HOST", "none")  # the CPU stands for the device
    with open_pool_file(everything) as file:
        found = {name: file.get_tensor(name) for name in file}
        assert file.residence.copied_nbytes == file.copied_nbytes
        assert file.residence == residence.residence(EVERYTHING, backend="copy")
        loaded = file.loaded

    assert (3, 2, 3) == (loaded.views, loaded.wrapped, loaded.computed)
    assert expected == {name: bits(tensor) for name, tensor in found.items()}
    storages = {
        found[n].untyped_storage().data_ptr() for n in ("wraps", "plain", "whole")
    }
    assert 1 == len(storages)
    assert 4 * (5 * PER_PAGE) == found["wraps"].untyped_storage().nbytes()


def test_meta_device_has_shapes_only(everything: Path) -> None:
    """``device="meta"`` gives every tensor's shape and dtype, and no memory."""
    found = load_file(everything, "meta")
    real = load_file(everything)

    assert {"meta"} == {tensor.device.type for tensor in found.values()}
    assert {n: (t.shape, t.dtype) for n, t in real.items()} == {
        n: (t.shape, t.dtype) for n, t in found.items()
    }


@needs_maps
def test_memory_is_what_is_stored(tmp_path: Path) -> None:
    """After touching every weight the process has grown by the stored bytes (PSS), not
    by the working weights; a forked child sees the same values."""
    backing = 8 << 20
    plan = plan_of(
        {"p": backing},
        pooled("w", (2, backing // 4), ("p", backing // 3)),
        pooled("long", (3, backing), ("p", 5)),
        kept("bias", (1000,)),
    )
    write(tmp_path / "w.wpool", plan)
    script = """
import os, re, sys, torch
from wpack.loader import load_file
def pss():
    text = open("/proc/self/smaps_rollup").read()
    return int(re.search(r"Pss: +(\\d+)", text)[1]) * 1024
def touch(tensors):
    return [float(t.sum()) for t in tensors.values()]
stored = os.path.getsize(sys.argv[1])
touch({"warm": torch.ones(2, 99)})
for backend in ("mmap", "memfd"):
    empty = pss()
    tensors = load_file(sys.argv[1], backend=backend)
    sums = touch(tensors)
    grown = pss() - empty
    child = os.fork()
    if child == 0:
        os._exit(touch(tensors) != sums)
    print(os.waitpid(child, 0)[1], 0.99 * stored < grown < 1.05 * stored + (4 << 20))
    del tensors
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    command.append(str(tmp_path / "w.wpool"))
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    assert ["0 True", "0 True"] == done.stdout.splitlines()


def test_aliases_of_kept_and_stitched_tensors(tmp_path: Path) -> None:
    """Whatever an alias stands for, it is that very tensor."""
    plan = plan_of(
        {"a": PER_PAGE, "b": PER_PAGE},
        pooled("s", (2, PER_PAGE), ("a", 0, PER_PAGE), ("b", 0, PER_PAGE)),
        alias("s too", "s", (2, PER_PAGE)),
        kept("k", (2,)),
        alias("k too", "k", (2,)),
    )
    write(tmp_path / "w.wpool", plan)
    found = load_file(tmp_path / "w.wpool")

    assert found["s"] is found["s too"]
    assert found["k"] is found["k too"]
