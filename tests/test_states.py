"""The folder of one saved state."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from wpack import states
from wpack.errors import StorageError

VALUES = {"step": 3, "loss": float("inf"), "text": "é"}
TENSORS: dict[str, dict[str, Tensor]] = {
    "training": {
        "a/b": torch.arange(6.0).view(2, 3).t(),
        "scalar": torch.tensor(7),
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "empty": torch.zeros(0, 4),
        "flag": torch.tensor([True, False]),
    },
    "best": {"w": torch.ones(2, requires_grad=True)},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state on disk."""
    states.write(tmp_path, VALUES, TENSORS, "5" * 64)
    return tmp_path


def test_round_trip(folder: Path) -> None:
    """Values and tensors come back as they were: shapes, dtypes, bits."""
    values, tensors = states.read(folder)

    assert VALUES == values
    assert list(TENSORS) == sorted(tensors, reverse=True)
    for file, named in TENSORS.items():
        assert set(named) == set(tensors[file])
        for name, tensor in named.items():
            assert tensor.dtype == tensors[file][name].dtype
            assert torch.equal(tensor.detach(), tensors[file][name])


def test_no_pickle(folder: Path) -> None:
    """A state is JSON and safetensors, and nothing else."""
    assert [
        "MANIFEST.json",
        "best.safetensors",
        "state.json",
        "training.safetensors",
    ] == sorted(path.name for path in folder.iterdir())
    safetensors.torch.load_file(folder / "training.safetensors")


def test_complete(folder: Path) -> None:
    """A state that is as it was written has no fault; its manifest tells the config."""
    manifest = json.loads((folder / "MANIFEST.json").read_text())

    assert "" == states.fault(folder)
    assert "5" * 64 == manifest["config_sha256"]
    assert states.nbytes(TENSORS) == 24 + 8 + 4 + 0 + 2 + 8


def cut(path: Path) -> None:
    """The last byte is lost."""
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    """The last byte is another."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def put_a_folder(path: Path) -> None:
    """A folder stands in its place, and has its size."""
    nbytes = path.stat().st_size
    path.unlink()
    path.mkdir()
    manifest = path.with_name("MANIFEST.json")
    found = json.loads(manifest.read_text())
    assert nbytes == found["files"][path.name]["nbytes"]
    found["files"][path.name]["nbytes"] = path.stat().st_size
    manifest.write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("file", "damage", "expected"),
    [
        ("MANIFEST.json", Path.unlink, "MANIFEST.json is missing"),
        ("MANIFEST.json", cut, "MANIFEST.json is damaged"),
        (
            "MANIFEST.json",
            lambda path: path.write_text("[]"),
            "MANIFEST.json is damaged",
        ),
        (
            "MANIFEST.json",
            lambda path: path.write_text("{}"),
            "MANIFEST.json is damaged",
        ),
        (
            "MANIFEST.json",
            lambda path: path.write_bytes(b"\xff"),
            "MANIFEST.json is damaged",
        ),
        ("best.safetensors", Path.unlink, "best.safetensors is missing"),
        ("best.safetensors", cut, "best.safetensors has 71 bytes, not 72"),
        (
            "best.safetensors",
            flip,
            "best.safetensors is damaged: its SHA-256 is another",
        ),
        ("state.json", flip, "state.json is damaged: its SHA-256 is another"),
        ("state.json", put_a_folder, "state.json: Is a directory"),
    ],
)
def test_t04_faults(
    folder: Path, file: str, damage: Callable[[Path], object], expected: str
) -> None:
    """Whatever is missing, cut or changed is told by the file's name."""
    damage(folder / file)

    assert expected == states.fault(folder)


def test_t09_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that does not fit is an error of storage."""
    with pytest.raises(StorageError, match="does not exist"):
        states.write(tmp_path / "no", VALUES, TENSORS, "")
