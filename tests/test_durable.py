"""Durable writing: what is replaced, what it keeps, and what is refused."""

from __future__ import annotations

import errno
import mmap
import os
import stat
from pathlib import Path

import pytest

from tests.crafting import refusal
from tests.faulty_os import FaultyOs
from tests.replacement import NEW, OLD, assert_only, replace
from wpack import durable
from wpack.errors import StorageError, UsageError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that exists, alone in its folder."""
    path = tmp_path / "out.wpool"
    path.write_bytes(OLD)
    return path


def test_w06_old_map_stays_valid(target: Path) -> None:
    """Replacing a file that is mapped leaves the map as it was."""
    with target.open("rb") as file:
        view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    replace(target)

    assert OLD == view[:]
    view.close()
    assert_only(target, NEW)


def test_w07_existing_file_needs_force(target: Path) -> None:
    """A file that exists is replaced only when asked to be."""
    with pytest.raises(UsageError) as error:
        replace(target, force=False)

    assert "exists. --force replaces it" == refusal(error, target)
    assert 2 == error.value.exit_code
    assert_only(target, OLD)


def test_w07_file_that_appears_meanwhile(target: Path) -> None:
    """A file that somebody else makes while ours is written is not replaced either."""
    target.unlink()

    def write() -> None:
        with durable.replacing(target, 3) as output:
            output.write_at(b"abc", 0)
            target.write_bytes(OLD)

    with pytest.raises(UsageError, match="exists"):
        write()

    assert_only(target, OLD)


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_w07_mode_of_a_new_file(target: Path, umask: int) -> None:
    """A new file's mode is 0666 without the umask, and not a private temporary's."""
    target.unlink()
    before = os.umask(umask)
    try:
        replace(target, force=False)
    finally:
        os.umask(before)

    assert 0o666 & ~umask == stat.S_IMODE(target.stat().st_mode)


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_w07_mode_of_a_replaced_file(target: Path, mode: int) -> None:
    """A replaced file keeps its mode."""
    target.chmod(mode)
    replace(target)

    assert mode == stat.S_IMODE(target.stat().st_mode)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root")
def test_w07_owner_of_a_replaced_file(target: Path) -> None:
    """A replaced file keeps its owner and group where that is allowed."""
    os.chown(target, 1234, 1235)
    target.chmod(0o640)
    replace(target)

    found = target.stat()
    assert (1234, 1235, 0o640) == (
        found.st_uid,
        found.st_gid,
        stat.S_IMODE(found.st_mode),
    )


def test_w07_owner_that_cannot_be_kept(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the owner may not be given away, the file is written all the same."""
    real = os.stat

    def stat_of_another(path: object, **options: object) -> os.stat_result:
        found = real(path, **options)  # type: ignore[arg-type]
        return os.stat_result((*found[:4], 4321, *found[5:]))

    system = FaultyOs(4, errno.EPERM)
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_of_another)
        replace(target, system)

    assert "fchown" == system.calls[4]
    assert_only(target, NEW)


def test_w08_symbolic_link(target: Path) -> None:
    """A link stays a link; what it points to is replaced, there where it is."""
    folder = target.parent / "links"
    folder.mkdir()
    link = folder / "link"
    link.symlink_to("../out.wpool")
    replace(link)

    assert "../out.wpool" == str(link.readlink())
    assert NEW == target.read_bytes()
    assert [link] == list(folder.iterdir())

    dangling = folder / "dangling"
    dangling.symlink_to("new")
    replace(dangling, force=False)

    assert NEW == (folder / "new").read_bytes()


def test_w08_no_regular_file(tmp_path: Path) -> None:
    """Folders and pipes are refused as a mistake in the command."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError) as folder_error:
        replace(tmp_path)
    with pytest.raises(UsageError) as pipe_error:
        replace(pipe)

    assert "is a folder. Name a file in it" == refusal(folder_error, tmp_path)
    assert "is no regular file" == refusal(pipe_error, pipe)
    assert [pipe] == list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["", "new/", "a\0b"])
def test_w08_no_file_name(path: str) -> None:
    """A path that names no file is a mistake in the command."""
    with pytest.raises(UsageError) as error:
        durable.write_bytes(path, b"")

    assert f"{path}: this path names no file" == str(error.value)


def test_w08_dev_null() -> None:
    """/dev/null takes everything, needs no force, and stays what it is."""
    durable.write_bytes(os.devnull, NEW)

    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_w09_two_writers(target: Path) -> None:
    """Of two writers of one file the last wins whole."""
    with durable.replacing(target, 6, force=True) as first:
        first.write_at(b"abc", 0)
        with durable.replacing(target, 2, force=True) as second:
            second.write_at(b"xy", 0)

        assert b"xy" == target.read_bytes()
        first.write_at(b"def", 3)

    assert_only(target, b"abcdef")


def test_check_sees_the_file_and_can_refuse_it(target: Path) -> None:
    """The check reads the flushed file; what it raises keeps the old one."""
    seen = []

    def check(fd: int) -> None:
        seen.append(os.pread(fd, 100, 0))
        raise StorageError("refused")

    with (
        pytest.raises(StorageError, match="refused"),
        durable.replacing(target, 3, force=True, check=check) as output,
    ):
        output.write_at(b"abc", 0)

    assert [b"abc"] == seen
    assert_only(target, OLD)


def test_size_must_be_as_announced(target: Path) -> None:
    """Too few bytes, or bytes in the wrong place, never become a file."""
    with (
        pytest.raises(ValueError, match=r"^3 bytes written, 4 announced$"),
        durable.replacing(target, 4, force=True) as output,
    ):
        output.write_at(b"abc", 0)
    with (
        pytest.raises(ValueError, match=r"^bytes 2 … 5 do not fit a file of 4$"),
        durable.replacing(target, 4, force=True) as output,
    ):
        output.write_at(b"abc", 2)

    assert_only(target, OLD)


def test_folder_that_does_not_exist(tmp_path: Path) -> None:
    """A missing folder, and a file in its place, are named."""
    with pytest.raises(StorageError) as missing:
        durable.write_bytes(tmp_path / "no" / "out", b"")
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as no_folder:
        durable.write_bytes(tmp_path / "file" / "out", b"")

    assert f"the folder {tmp_path}/no does not exist" == refusal(
        missing, tmp_path / "no" / "out"
    )
    assert f"{tmp_path}/file is no folder" == refusal(
        no_folder, tmp_path / "file" / "out"
    )


def test_long_names(tmp_path: Path) -> None:
    """The longest name that fits is written; a longer one is refused in words."""
    longest = tmp_path / ("é" * 127 + "n")
    durable.write_bytes(longest, NEW)
    durable.write_bytes(longest, NEW, force=True)
    too_long = tmp_path / ("é" * 128)
    with pytest.raises(StorageError) as error:
        durable.write_bytes(too_long, NEW)

    assert "the name is longer than the filesystem allows" == refusal(error, too_long)
    assert_only(longest, NEW)


def test_write_text_and_empty_file(tmp_path: Path) -> None:
    """Text is UTF-8 with its newlines as they are; nothing is a file too."""
    durable.write_text(tmp_path / "text", "ä\r\n")
    durable.write_bytes(tmp_path / "empty", b"")

    assert b"\xc3\xa4\r\n" == (tmp_path / "text").read_bytes()
    assert b"" == (tmp_path / "empty").read_bytes()


def test_flush_folder(tmp_path: Path) -> None:
    """A folder is opened, flushed and closed; a failure names it."""
    system = FaultyOs()
    durable.flush_folder(tmp_path, os_=system)

    assert ["open", "fsync", "close"] == system.calls
    assert [str(tmp_path)] == system.opened
    with pytest.raises(StorageError) as error:
        durable.flush_folder(tmp_path, os_=FaultyOs(1))
    assert "flushing the folder failed: Input/output error" == refusal(error, tmp_path)


def test_w05_made_folders_are_flushed(tmp_path: Path) -> None:
    """Each folder that is made is flushed into the one it lies in; what is there
    already costs nothing."""
    system = FaultyOs()
    durable.make_folder(tmp_path / "a" / "b", os_=system)

    assert (tmp_path / "a" / "b").is_dir()
    assert ["open", "fsync", "close"] * 2 == system.calls
    assert [str(tmp_path), str(tmp_path / "a")] == system.opened

    durable.make_folder(tmp_path / "a" / "b", os_=system)

    assert 6 == len(system.calls)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as error:
        durable.make_folder(tmp_path / "file" / "a")
    assert "cannot be made: Not a directory" == refusal(error, tmp_path / "file" / "a")


def test_outputs_are_refused_early(target: Path) -> None:
    """What could not be written after hours of work is refused before."""
    cases = {
        (target.parent, True): "is a folder, not a file",
        (target, False): "exists. Pass --force to replace it",
        (target / "no" / "x", True): "its folder does not exist",
    }
    for (path, force), message in cases.items():
        with pytest.raises(UsageError) as error:
            durable.refuse_existing(path, force)

        assert message == refusal(error, path)
    durable.refuse_existing(target, True)
    durable.refuse_existing(target.with_name("new"), False)
