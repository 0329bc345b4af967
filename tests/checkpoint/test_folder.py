"""Which file of a folder is its checkpoint, and what may be opened there."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.checkpoint.files import refused, write
from wpack import checkpoint
from wpack.checkpoint import folder


def test_a_folder_with_one_checkpoint_stands_for_it(tmp_path: Path) -> None:
    """What trainers write beside a model is no candidate."""
    write(tmp_path / "w.safetensors", w=1.0)
    for name in ("optimizer.pt", "training_args.bin", "rng_state.pth", "config.json"):
        (tmp_path / name).write_bytes(b"?")
    with checkpoint.open(tmp_path) as opened:
        source = opened.source()

    assert ["w"] == [info.name for info in opened.infos]
    assert "safetensors" == opened.format
    assert [] == opened.notes
    assert tmp_path.name == source.name


def test_a_folder_with_several_checkpoints_is_refused(tmp_path: Path) -> None:
    """Unless one of them has the usual name."""
    for name in ("a", "b"):
        write(tmp_path / f"{name}.safetensors", w=1.0)
    error = refused(tmp_path)
    write(tmp_path / "model.safetensors", w=1.0)

    assert 2 == error.exit_code
    assert (
        f"{tmp_path}: holds 2 files that may be the checkpoint: 'a.safetensors',"
        " 'b.safetensors'. Name the one to read"
    ) == str(error)
    assert 1 == len(checkpoint.infos(tmp_path))


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    """The suffixes that were looked for are named."""
    (tmp_path / "readme.md").write_text("nothing")

    assert (
        f"{tmp_path}: holds no checkpoint: no .safetensors, .bin, .pt, .pth or .th file"
    ) == str(refused(tmp_path))


def test_a_folder_that_may_not_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an error of wpack."""

    def listdir(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "listdir", listdir)

    assert f"{tmp_path}: cannot be listed: Permission denied" == str(refused(tmp_path))


def test_c17_safetensors_are_preferred_to_pickles(tmp_path: Path) -> None:
    """And the user is told."""
    write(tmp_path / "model.safetensors", w=1.0)
    (tmp_path / "pytorch_model.bin").write_bytes(b"not looked at")
    with checkpoint.open(tmp_path) as opened:
        pass

    assert ["took the .safetensors, not 'pytorch_model.bin'"] == opened.notes


def hub_cache(root: Path) -> tuple[Path, Path]:
    """A snapshot folder and the blobs folder that it links into."""
    snapshot, blobs = root / "models--x" / "snapshots" / "abc", root / "models--x/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    return snapshot, blobs


def test_c13_links_inside_the_folder_and_into_blobs_are_followed(
    tmp_path: Path,
) -> None:
    """Model hubs keep the files of all revisions in one folder of blobs."""
    snapshot, blobs = hub_cache(tmp_path)
    write(blobs / "0123", w=3.0)
    (snapshot / "model.safetensors").symlink_to("../../blobs/0123")
    inside = tmp_path / "inside"
    shutil.copytree(blobs, inside)
    (inside / "model.safetensors").symlink_to("0123")

    for place in (snapshot, inside):
        with checkpoint.open(place) as opened:
            assert [3.0] == opened.read("w").tolist()


@pytest.mark.parametrize("target", ["elsewhere.safetensors", "models--x/other/0123"])
def test_c13_links_to_other_places_are_refused(tmp_path: Path, target: str) -> None:
    """Also to those near the blobs, and to those that lead nowhere."""
    snapshot, _ = hub_cache(tmp_path)
    real = tmp_path / target
    real.parent.mkdir(exist_ok=True)
    link = snapshot / "model.safetensors"
    link.symlink_to(real)
    message = (
        f"{link}: is a symbolic link to {real}, outside its folder."
        " Put the file itself there, if you trust it"
    )
    dangling = str(refused(snapshot))
    write(real, w=1.0)

    assert message == dangling
    assert message == str(refused(snapshot))


def test_c13_only_snapshots_have_blobs(tmp_path: Path) -> None:
    """A folder of blobs somewhere above is no permission."""
    snapshot, blobs = hub_cache(tmp_path)
    snapshot = snapshot.parent.rename(tmp_path / "models--x" / "other") / "abc"
    real = write(blobs / "0123", w=3.0)
    link = snapshot / "model.safetensors"
    link.symlink_to(real)

    assert (
        f"{link}: is a symbolic link to {real}, outside its folder."
        " Put the file itself there, if you trust it"
    ) == str(refused(snapshot))


def test_c14_a_link_turned_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked at is not what was opened."""
    secret = write(tmp_path / "secret", w=1.0)
    inside = tmp_path / "inside"
    inside.mkdir()
    path = write(inside / "model.safetensors", w=2.0)

    def turned(path: Path) -> int:
        return os.open(secret, os.O_RDONLY)

    monkeypatch.setattr(folder, "open_regular", turned)

    assert f"{path}: was replaced while it was opened" == str(refused(inside))


def test_c14_a_file_removed_while_it_is_opened_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is there to compare it with."""
    path = write(tmp_path / "model.safetensors", w=2.0)

    def removed(path: Path) -> int:
        fd = os.open(path, os.O_RDONLY)
        path.unlink()
        return fd

    monkeypatch.setattr(folder, "open_regular", removed)

    assert f"{path}: cannot be opened: No such file or directory" == str(
        refused(tmp_path)
    )


def test_a_file_named_by_the_user_may_be_a_link(tmp_path: Path) -> None:
    """Naming it is the permission."""
    path = write(tmp_path / "m.safetensors", w=1.0)
    link = tmp_path / "folder" / "link"
    link.parent.mkdir()
    link.symlink_to(path)

    assert 1 == len(checkpoint.infos(link))
