"""The zip file around a torch checkpoint is checked before torch sees it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoint.torch_files import everything, legacy, refused, save
from tests.crafting import refusal
from wpack import checkpoint
from wpack.checkpoint import torch_archive
from wpack.checkpoint.wrappers import RECIPE
from wpack.errors import CheckpointError, WpackError
from wpack.inputs import AGAIN


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_c03_a_truncated_zip_is_refused(tmp_path: Path, kept: float) -> None:
    """The list of its entries stood at its end."""
    path = save(tmp_path / "m.pt", {"w": torch.ones(100)})
    os.truncate(path, int(path.stat().st_size * kept))

    assert (
        f"is a damaged torch checkpoint: File is not a zip file. {AGAIN}"
    ) == refused(path)


def test_c03_a_truncated_legacy_file_is_refused(tmp_path: Path) -> None:
    """Inside its data, and inside its pickle."""
    path = legacy(tmp_path / "m.pt", {"w": torch.ones(100)})
    os.truncate(path, path.stat().st_size - 8)
    text = refused(path)
    os.truncate(path, 60)

    assert text.startswith("cannot be loaded by torch: RuntimeError: unexpected EOF")
    assert refused(path).startswith("cannot be loaded by torch: ")


def rezipped(path: Path, compress: int = zipfile.ZIP_STORED, **changed: bytes) -> None:
    """Write a zip file anew, some of its entries changed (``data_pkl``) or added."""
    names = {name.replace("_", "."): data for name, data in changed.items()}
    with zipfile.ZipFile(path) as old:
        entries = {e.filename: old.read(e) for e in old.infolist()}
    with zipfile.ZipFile(path, "w", compress) as new:
        for name, data in entries.items():
            new.writestr(name, names.pop(name.rpartition("/")[2], data))
        for name, data in names.items():
            new.writestr(f"m/{name}", data)


def test_a_zip_file_that_another_tool_wrote_is_read(tmp_path: Path) -> None:
    """Storages need not lie where torch puts them."""
    path = save(tmp_path / "m.pt", {"w": torch.arange(3), "v": torch.ones(1)})
    rezipped(path)

    assert {"w": ((3,), [0, 1, 2]), "v": ((1,), [1.0])} == everything(path)


def test_c04_a_compressed_entry_is_refused(tmp_path: Path) -> None:
    """40 KB can be 40 MB."""
    path = save(tmp_path / "m.pt", {"w": torch.zeros(10**6)})
    rezipped(path, zipfile.ZIP_DEFLATED)
    text = refused(path)

    assert path.stat().st_size < 10_000
    assert text.startswith("its entry 'm/data.pkl' is compressed (")
    assert text.endswith(
        "; torch.save compresses nothing. Load it in torch and save it again, if you"
        " trust it"
    )


def test_c04_entries_that_claim_more_than_the_file_are_refused(tmp_path: Path) -> None:
    """The same bytes, listed as many entries."""
    path = save(tmp_path / "m.pt", {"w": torch.zeros(10_000)})
    with zipfile.ZipFile(path, "a") as archive:
        (storage,) = (e for e in archive.infolist() if e.filename.endswith("data/0"))
        archive.filelist += [storage] * 3
        archive._didModify = True  # type: ignore[attr-defined]
    nbytes = path.stat().st_size
    text = refused(path)

    assert text.startswith("its entries claim 16")
    assert text.endswith(f" bytes, the file has {nbytes}. {AGAIN}")


def test_c04_views_that_claim_far_more_than_the_file_are_refused(
    tmp_path: Path,
) -> None:
    """One element can be expanded to any number."""
    path = save(tmp_path / "m.pt", {"w": torch.ones(1).expand(1 << 25)})

    assert (
        f"its tensors claim {4 << 25} bytes of a file of {path.stat().st_size}."
        " Save expanded tensors as they are before .expand()"
    ) == refused(path)


def test_c04_a_huge_pickle_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be parsed instruction by instruction."""
    monkeypatch.setattr(torch_archive, "MAX_PICKLE", 100)
    path = save(tmp_path / "m.pt", {"w": torch.ones(1), "x": "x" * 100})

    assert refused(path).endswith(f" bytes; the limit is 100. {RECIPE}")


def flip(path: Path, entry: str) -> None:
    """Flip one bit inside an entry."""
    with zipfile.ZipFile(path) as archive:
        (data,) = (archive.read(n) for n in archive.namelist() if n.endswith(entry))
    whole = bytearray(path.read_bytes())
    at_byte = whole.index(data) + len(data) // 2
    whole[at_byte] ^= 1
    path.write_bytes(whole)


def test_c05_a_flipped_bit_in_a_storage_is_found(tmp_path: Path) -> None:
    """torch itself does not look; we do, before the first element is read."""
    path = save(tmp_path / "m.pt", {"w": torch.arange(1000)})
    flip(path, "data/0")
    opened = checkpoint.open(path)
    with pytest.raises(CheckpointError) as caught:
        opened.read("w", 0, 1)
    opened.close()

    assert (
        "is damaged: the checksum of its entry 'm/data/0' does not agree."
        f" {AGAIN}; if torch saved it with set_crc32_options(False), save it again"
        " without"
    ) == refusal(caught, path)


def test_c05_a_flipped_bit_in_the_pickle_is_found(tmp_path: Path) -> None:
    """Before torch sees it."""
    path = save(tmp_path / "m.pt", {"w": torch.arange(1000)})
    flip(path, "data.pkl")

    assert (
        f"is a damaged torch checkpoint: Bad CRC-32 for file 'm/data.pkl'. {AGAIN}"
    ) == refused(path)


def test_c06_torchscript_is_refused(tmp_path: Path) -> None:
    """It is a program."""
    path = save(tmp_path / "m.pt", {"w": torch.ones(1)})
    rezipped(path, constants_pkl=b"")

    assert (
        "is a TorchScript archive, a program; only tensors are read. Save its tensors:"
        " torch.save(torch.jit.load(path).state_dict(), out)"
    ) == refused(path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("w.npy", "is a numpy .npz file, not a torch checkpoint"),
        ("readme.txt", "is a zip file with 0 data.pkl, not a torch checkpoint"),
    ],
)
def test_c06_other_zip_files_are_refused(tmp_path: Path, name: str, what: str) -> None:
    """Named, where we know the name."""
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "text")

    assert f"{what}. {RECIPE}" == refused(path)


def test_c06_a_torch_file_called_safetensors_is_refused(tmp_path: Path) -> None:
    """torch would read it by its suffix."""
    path = save(tmp_path / "m.safetensors", {"w": torch.ones(1)})

    assert (
        "is a zip archive, as torch.save writes it, with the suffix of another format."
        " Rename it: m.pt"
    ) == refused(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file."""
    path = tmp_path_factory.mktemp("whole") / "m.pt"
    return save(path, {"w": torch.arange(4), "v": torch.ones(2, 2)})


@given(st.data())
def test_damage_anywhere_is_refused_or_harmless(
    whole: Path, data: st.DataObject
) -> None:
    """No change of a byte and no cut gives other tensors, or an error not ours."""
    blob = bytearray(whole.read_bytes())
    at_byte = data.draw(st.integers(0, len(blob) - 1))
    if data.draw(st.booleans()):
        del blob[at_byte:]
    else:
        blob[at_byte] ^= data.draw(st.integers(1, 255))
    path = whole.with_name("damaged.pt")
    path.write_bytes(blob)
    try:
        found = everything(path)
    except WpackError:
        return

    assert everything(whole) == found
