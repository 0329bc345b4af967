"""A ``.safetensors`` file as a checkpoint."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crafting import safetensors
from wpack import checkpoint
from wpack.container import Source
from wpack.errors import CheckpointError, FormatError, UsageError
from wpack.tensors import BY_NAME, FLOAT32, DType, TensorInfo


def write(
    path: Path, tensors: dict[str, np.ndarray], metadata: dict[str, str] | None = None
) -> Path:
    """A file of float32 tensors in the order given."""
    stored = [
        (n, "F32", a.shape, a.astype("<f4").tobytes()) for n, a in tensors.items()
    ]
    path.write_bytes(safetensors(stored, metadata))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a tensor of 60 elements behind another."""
    arrays = {"a": np.ones(3), "b": np.arange(60.0).reshape(3, 20)}
    return write(tmp_path_factory.mktemp("path") / "m.safetensors", arrays)


def test_infos_come_in_the_order_of_their_places(tmp_path: Path) -> None:
    """The header's own order does not count, the file's does."""
    path = write(tmp_path / "m.safetensors", {"b": np.ones((2, 3)), "a": np.ones(4)})
    expected = [
        TensorInfo("b", FLOAT32, (2, 3)),
        TensorInfo("a", FLOAT32, (4,)),
    ]

    assert expected == checkpoint.infos(path)


@given(st.data())
def test_any_range_of_a_tensor_is_read(path: Path, data: st.DataObject) -> None:
    """Reading follows the array that was written, into memory of its own."""
    first = data.draw(st.integers(0, 60))
    numel = data.draw(st.none() | st.integers(0, 60 - first))
    last = 60 if numel is None else first + numel
    with checkpoint.open(path) as opened:
        read = opened.read("b", first, numel)

    assert np.arange(60.0)[first:last].tolist() == read.tolist()
    assert read.flags.owndata


@pytest.mark.parametrize(("first", "numel"), [(-1, 1), (0, 61), (60, 1), (5, -1)])
def test_a_range_outside_a_tensor_is_refused(
    path: Path, first: int, numel: int
) -> None:
    """It would be another tensor's elements."""
    message = f"^{numel} elements from {first} are not inside 60 of b$"
    with checkpoint.open(path) as opened, pytest.raises(ValueError, match=message):
        opened.read("b", first, numel)


def test_an_unknown_tensor_is_refused(path: Path) -> None:
    """With wpack's own error."""
    with checkpoint.open(path) as opened, pytest.raises(CheckpointError) as caught:
        opened.read("c")

    assert f"{path}: has no tensor 'c'" == str(caught.value)


@pytest.mark.parametrize("dtype", BY_NAME.values(), ids=str)
def test_c09_every_dtype_passes_bit_by_bit(tmp_path: Path, dtype: DType) -> None:
    """Including the ones that numpy has no name for."""
    bits = np.arange(dtype.itemsize * 6, dtype="u1")
    raw = (bits % 2 if dtype.name == "bool" else bits).view(dtype.raw)
    info = TensorInfo("w", dtype, (2, 3))
    path = tmp_path / "m.safetensors"
    checkpoint.write_safetensors(path, [info], [("w", [raw])])
    with checkpoint.open(path) as opened:
        read = opened.read("w")

    assert [info] == opened.infos
    assert raw.tobytes() == read.tobytes()
    assert np.dtype(dtype.raw) == read.dtype


def test_c08_a_tied_tensor_of_save_model_is_an_alias(tmp_path: Path) -> None:
    """The metadata names the dropped tensor and the kept one; other entries do not."""
    path = write(
        tmp_path / "m.safetensors",
        {"embed": np.ones(3), "pt": np.ones(1), "x": np.zeros(1)},
        {"head": "embed", "format": "pt", "x": "embed", "note": "nothing"},
    )
    with checkpoint.open(path) as opened:
        read = opened.read("head", 1)

    assert [
        TensorInfo("embed", FLOAT32, (3,)),
        TensorInfo("pt", FLOAT32, (1,)),
        TensorInfo("x", FLOAT32, (1,)),
        TensorInfo("head", FLOAT32, (3,), alias_of="embed"),
    ] == opened.infos
    assert [1.0, 1.0] == read.tolist()


def test_c08_save_model_agrees(tmp_path: Path) -> None:
    """What safetensors itself writes of a tied model reads as one."""
    import torch
    from safetensors.torch import save_model

    model = torch.nn.Module()
    model.embed = torch.nn.Linear(2, 2, bias=False)
    model.head = torch.nn.Linear(2, 2, bias=False)
    model.head.weight = model.embed.weight
    path = tmp_path / "m.safetensors"
    save_model(model, str(path))
    infos = checkpoint.infos(path)

    assert [("embed.weight", None), ("head.weight", "embed.weight")] == [
        (info.name, info.alias_of) for info in infos
    ]


def test_c11_prefixes_are_stripped_and_reported(tmp_path: Path) -> None:
    """From aliases too, and reading finds the tensors under their short names."""
    path = write(
        tmp_path / "m.safetensors",
        {"module.a": np.full(2, 7.0)},
        {"module.b": "module.a"},
    )
    with checkpoint.open(path) as opened:
        read = opened.read("b")

    assert ["stripped the prefix 'module.' from every name"] == opened.notes
    assert [("a", None), ("b", "a")] == [(i.name, i.alias_of) for i in opened.infos]
    assert [7.0, 7.0] == read.tolist()


def test_c10_special_values_pass_bit_by_bit(tmp_path: Path) -> None:
    """NaN payloads, infinities, subnormals and the sign of zero are data."""
    bits = np.array([0x7FC00001, 0xFF800000, 1, 0x80000000, 0x7F800001], "<u4")
    path = write(tmp_path / "m.safetensors", {"w": bits.view("<f4")})
    with checkpoint.open(path) as opened:
        read = opened.read("w")

    assert bits.tolist() == read.view("<u4").tolist()


def test_the_source_is_the_sha256_of_the_file(path: Path) -> None:
    """As sha256sum prints it, with the file's size and name."""
    data = path.read_bytes()
    expected = Source(hashlib.sha256(data).hexdigest(), len(data), "m.safetensors")
    with checkpoint.open(path) as opened:
        source = opened.source()

    assert expected == source
    assert len(data) == opened.file_bytes


def test_a_wpool_is_not_a_checkpoint(tmp_path: Path) -> None:
    """It has been compressed already; the way back is named."""
    path = write(tmp_path / "m.wpool", {"pool/p": np.ones(2)}, {"format": "wpool"})
    with pytest.raises(CheckpointError) as caught:
        checkpoint.open(path)

    assert (
        f"{path}: is a .wpool already, not a checkpoint. Inflate it first:"
        " wpack inflate m.wpool -o model.safetensors"
    ) == str(caught.value)


def test_a_key_needs_a_wrapped_file(path: Path) -> None:
    """A safetensors file has no wrappers to choose from."""
    with pytest.raises(UsageError) as caught:
        checkpoint.open(path, "model")

    assert (
        f"{path}: a safetensors file has no parts to choose from, --key model names"
        " one. Leave --key out"
    ) == str(caught.value)


def test_a_file_cut_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """Reading finds the end where there should be data."""
    path = write(tmp_path / "m.safetensors", {"w": np.ones(4)})
    whole = path.stat().st_size
    opened = checkpoint.open(path)
    with path.open("r+b") as file:
        file.truncate(whole - 8)
    with pytest.raises(FormatError) as caught:
        opened.read("w")
    opened.close()

    assert (
        f"{path}: truncated: needs {whole} bytes, has {whole - 8}."
        " Download or copy it again"
    ) == str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_reading_costs_a_block_of_memory(tmp_path: Path) -> None:
    """A model read block by block does not become this process's memory."""
    path = tmp_path / "m.safetensors"
    block = np.zeros(1 << 20, "<f4")
    info = TensorInfo("w", FLOAT32, (16 << 20,))
    checkpoint.write_safetensors(path, [info], [("w", [block] * 16)])
    with checkpoint.open(path) as opened:
        opened.read("w", 0, 1 << 20)
        before = _resident_bytes()
        for first in range(0, 16 << 20, 1 << 20):
            block = opened.read("w", first, 1 << 20)
        grown = _resident_bytes() - before

    assert grown < 16 << 20


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096
