"""Plain checkpoints as they are written."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from wpack import checkpoint
from wpack.errors import CheckpointError, StorageError, UsageError
from wpack.header import read_header
from wpack.inputs import open_regular
from wpack.tensors import BY_NAME, DType, TensorInfo

UINT8, FLOAT32, INT64 = BY_NAME["uint8"], BY_NAME["float32"], BY_NAME["int64"]


def raw(info: TensorInfo, seed: int = 0) -> np.ndarray:
    """Elements for a tensor: any bits, which are bools where they must be."""
    bits = np.random.default_rng(seed).integers(0, 256, info.nbytes, "u1")
    return (bits % 2 if info.dtype.code == "BOOL" else bits).view(info.dtype.raw)


def stored_order(path: Path) -> list[str]:
    """Names in the order of their places."""
    fd = open_regular(path)
    try:
        return [entry.name for entry in read_header(fd, str(path)).entries]
    finally:
        os.close(fd)


infos_strategy = st.lists(
    st.tuples(
        st.sampled_from(list(BY_NAME.values())),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
    ),
    max_size=6,
).map(lambda pairs: [TensorInfo(f"t{i}", *pair) for i, pair in enumerate(pairs)])


@given(infos_strategy)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, infos: list[TensorInfo]
) -> None:
    """Bit by bit, and by safetensors too, whose places are aligned."""
    path = tmp_path_factory.getbasetemp() / "round.safetensors"
    arrays = {info.name: raw(info, i) for i, info in enumerate(infos)}
    blocks = [(name, np.array_split(array, 3)) for name, array in arrays.items()]
    checkpoint.write_safetensors(path, infos, reversed(blocks), force=True)
    with checkpoint.open(path) as opened:
        read = {info.name: opened.read(info.name).tobytes() for info in opened.infos}

    assert {name: array.tobytes() for name, array in arrays.items()} == read
    assert {info.name: info for info in infos} == {i.name: i for i in opened.infos}
    with safe_open(path, "pt") as other:
        assert {i.name: i.shape for i in infos} == {
            name: tuple(other.get_slice(name).get_shape()) for name in other.keys()
        }
    fd = open_regular(path)
    header = read_header(fd, str(path))
    os.close(fd)
    assert all(
        (header.data_byte + entry.begin_byte) % entry.dtype.itemsize == 0
        for entry in header.entries
    )


@pytest.mark.parametrize(
    ("tensors", "order"),
    [
        ([(UINT8, 4), (FLOAT32, 1), (INT64, 1)], ["t0", "t1", "t2"]),
        ([(UINT8, 4), (FLOAT32, 2), (INT64, 1)], ["t2", "t1", "t0"]),
        ([(UINT8, 3), (UINT8, 4), (INT64, 1)], ["t2", "t0", "t1"]),
    ],
)
def test_the_given_order_is_kept_where_it_is_aligned(
    tmp_path: Path, tensors: list[tuple[DType, int]], order: list[str]
) -> None:
    """Else the widest elements come first, and equal ones as they came."""
    infos = [TensorInfo(f"t{i}", d, (numel,)) for i, (d, numel) in enumerate(tensors)]
    path = tmp_path / "m.safetensors"
    checkpoint.write_safetensors(path, infos, [(i.name, [raw(i)]) for i in infos])

    assert order == stored_order(path)


def test_an_array_in_another_order_is_written_right(tmp_path: Path) -> None:
    """safetensors 0.8 writes such an array silently wrong (its issue 825)."""
    block = np.arange(6, dtype="<f4").reshape(2, 3).T
    info = TensorInfo("w", FLOAT32, (3, 2))
    path = tmp_path / "m.safetensors"
    checkpoint.write_safetensors(path, [info], [("w", [block])])
    with checkpoint.open(path) as opened:
        read = opened.read("w").tolist()

    assert [0.0, 3.0, 1.0, 4.0, 2.0, 5.0] == read


def test_aliases_are_written_as_save_model_does(tmp_path: Path) -> None:
    """The metadata says which tensor an alias is; its data is stored once."""
    kept = TensorInfo("embed", FLOAT32, (3,))
    infos = [kept, TensorInfo("head", FLOAT32, (3,), alias_of="embed")]
    path = tmp_path / "m.safetensors"
    checkpoint.write_safetensors(
        path, infos, [("embed", [raw(kept)])], metadata={"note": "text"}
    )
    with safe_open(path, "np") as other:
        metadata, names = other.metadata(), list(other.keys())

    assert infos == checkpoint.infos(path)
    assert ["embed"] == names
    assert {"format": "pt", "head": "embed", "note": "text"} == metadata


def test_an_alias_that_the_metadata_cannot_name_is_refused(tmp_path: Path) -> None:
    """One entry cannot say two things."""
    kept = TensorInfo("embed", FLOAT32, (3,))
    infos = [kept, TensorInfo("format", FLOAT32, (3,), alias_of="embed")]
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError) as caught:
        checkpoint.write_safetensors(path, infos, [("embed", [raw(kept)])])

    assert (
        f"{path}: the tied tensor 'format' has the name of an entry of the metadata."
        " Rename it, or write a .pt"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ([("w", [np.ones(2, "<f4")])], "8 of 12 bytes came for w"),
        ([("w", [np.ones(2, "<f4")] * 2)], "more than 12 bytes came for w"),
        ([("v", [])], "v is not to be stored, or came twice"),
        ([("w", [np.ones(3, "<f4")])] * 2, "w is not to be stored, or came twice"),
        ([], "no array came for w"),
    ],
)
def test_arrays_that_do_not_fit_leave_no_file(
    tmp_path: Path, arrays: Any, message: str
) -> None:
    """It is the caller's mistake, and nothing of it stays."""
    info = TensorInfo("w", FLOAT32, (3,))
    with pytest.raises(ValueError, match=f"^{message}$"):
        checkpoint.write_safetensors(tmp_path / "m.safetensors", [info], arrays)

    assert [] == os.listdir(tmp_path)


@pytest.fixture(params=["safetensors", "torch"])
def write(request: pytest.FixtureRequest) -> Any:
    """Either writer, as ``write(path, value, force=False)`` of one tensor."""

    def safetensors(path: Path, value: float, force: bool = False) -> None:
        info = TensorInfo("w", FLOAT32, (1000,))
        arrays = [("w", [np.full(1000, value, "<f4")])]
        checkpoint.write_safetensors(path, [info], arrays, force=force)

    def torch_(path: Path, value: float, force: bool = False) -> None:
        checkpoint.write_torch(path, {"w": torch.full((1000,), value)}, force=force)

    return safetensors if request.param == "safetensors" else torch_


def test_w07_an_existing_file_needs_force(tmp_path: Path, write: Any) -> None:
    """And keeps its content without."""
    path = tmp_path / "m"
    write(path, 1.0)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        write(path, 2.0)
    kept = path.read_bytes()
    write(path, 2.0, force=True)

    assert f"{path}: exists. --force replaces it" == str(caught.value)
    assert before == kept
    assert before != path.read_bytes()


def test_w01_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Any
) -> None:
    """Whichever write fails, with the system's own reason."""
    path = tmp_path / "m"
    write(path, 1.0)
    before = path.read_bytes()
    for last in range(4):
        fail_after(monkeypatch, last)
        with pytest.raises(StorageError, match="the disk is full: needs"):
            write(path, 2.0, force=True)
        monkeypatch.undo()

        assert before == path.read_bytes()
        assert ["m"] == os.listdir(tmp_path)


def fail_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Let ``pwrite`` fail for want of space after so many calls."""
    pwrite = os.pwrite
    left: Iterator[int] = iter(range(min(calls, 1)))

    def failing(fd: int, data: Any, at_byte: int) -> int:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(fd, data, at_byte)

    monkeypatch.setattr(os, "pwrite", failing)


def test_w13_the_same_tensors_give_the_same_bytes(tmp_path: Path, write: Any) -> None:
    """Under any name."""
    write(tmp_path / "a", 1.0)
    write(tmp_path / "b", 1.0)

    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_torch_files_keep_views_on_one_storage(tmp_path: Path) -> None:
    """Stored once, and still shared after loading."""
    pool = torch.arange(10_000.0)
    path = tmp_path / "m.pt"
    tensors = {"a": pool[:6].view(2, 3), "b": pool[3:9_000], "c": pool[:6].view(2, 3)}
    checkpoint.write_torch(path, tensors)
    loaded = torch.load(path, weights_only=True)
    (address,) = {tensor.untyped_storage().data_ptr() for tensor in loaded.values()}

    assert loaded["b"].data_ptr() == address + 12
    assert all(torch.equal(tensors[name], loaded[name]) for name in tensors)
    assert list(tensors) == list(loaded)
    assert path.stat().st_size < 44_000
    assert [None, None, "a"] == [info.alias_of for info in checkpoint.infos(path)]


def test_an_interrupt_while_torch_writes_passes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing behind."""

    def interrupted(fd: int, data: Any, at_byte: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "pwrite", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.write_torch(tmp_path / "m.pt", {"w": torch.ones(3)})

    assert [] == os.listdir(tmp_path)
