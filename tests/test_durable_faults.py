"""Durable writing when something goes wrong: the old file or the new one, whole.

What kills leave, and every writer of wpack at every call, is in ``test_write_faults``.
"""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import pytest

from tests.crafting import refusal
from tests.faulty_os import FaultyOs
from tests.replacement import CALLS, NEW, OLD, RENAMED, assert_only, replace
from wpack import durable
from wpack.errors import StorageError


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file that exists, alone in its folder."""
    path = tmp_path / "out.wpool"
    path.write_bytes(OLD)
    return path


def test_w05_w11_order_of_calls(target: Path) -> None:
    """Claim, write, flush, rename, flush the folder; the temporary is beside the
    target."""
    system = FaultyOs()
    replace(target, system)

    assert CALLS == system.calls
    temporary, folder = map(Path, system.opened)
    assert target.parent == folder == temporary.parent
    assert temporary.match(".out.wpool.wpack-????????.tmp")
    assert_only(target, NEW)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("at", range(len(CALLS)))
def test_w01_w02_w03_every_call_fails(target: Path, at: int, code: int) -> None:
    """Whatever call fails: an error, one of the two files whole, nothing left."""
    with pytest.raises(StorageError):
        replace(target, FaultyOs(at, code))

    assert_only(target, OLD if at < RENAMED else NEW)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EDQUOT, "the disk quota is used up: needs 21 bytes"),
        (
            errno.EFBIG,
            "21 bytes are more than the filesystem, or `ulimit -f`, allows in a file",
        ),
        (errno.EROFS, "the filesystem of {folder} is read-only"),
        (errno.EACCES, "no permission to write in {folder}"),
        (errno.EPERM, "no permission to write in {folder}"),
        (errno.EMFILE, "creating a file failed: Too many open files"),
    ],
)
def test_w03_messages(target: Path, code: int, message: str) -> None:
    """What the operating system refuses is put into words, with the folder's name."""
    with pytest.raises(StorageError) as error:
        replace(target, FaultyOs(0, code))

    assert message.format(folder=target.parent) == refusal(error, target)


def test_w01_disk_full(target: Path) -> None:
    """A full disk is noticed before anything is written, and told with both sizes."""
    system = FaultyOs(1, errno.ENOSPC)

    with pytest.raises(StorageError) as error:
        replace(target, system)

    words = refusal(error, target).split()
    assert "the disk is full: needs 21 bytes,".split() == words[:7]
    assert "free" == words[8]
    assert int(words[7]) > 0
    assert "pwrite" not in system.calls


def test_w02_flush_is_never_retried(target: Path) -> None:
    """After a failed flush there is no second one that could report success."""
    system = FaultyOs(CALLS.index("fsync"), errno.EIO)

    with pytest.raises(StorageError) as error:
        replace(target, system)

    assert "flushing failed: Input/output error" == refusal(error, target)
    assert 1 == system.calls.count("fsync")


def test_w03_file_size_limit(target: Path) -> None:
    """The process's own limit on a file's size is met before anything is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StorageError) as error:
            durable.write_bytes(target, bytes(8192), force=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert refusal(error, target).startswith("8192 bytes are more than the filesystem")
    assert_only(target, OLD)


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.EINVAL])
def test_space_cannot_be_claimed(target: Path, code: int) -> None:
    """A filesystem that cannot claim space gets the size set instead."""
    system = FaultyOs(1, code)
    replace(target, system)

    assert [*CALLS[:2], "ftruncate", *CALLS[2:]] == system.calls
    assert_only(target, NEW)


def test_without_unix_calls(target: Path) -> None:
    """Windows and macOS lack some calls and write the same file."""
    missing = ("posix_fallocate", "pwrite", "fchmod", "fchown")
    replace(target, FaultyOs(missing=missing))

    assert_only(target, NEW)


def test_w04_sweeping_spares_the_living(target: Path) -> None:
    """A temporary of a live writer, of another name, or of no writer at all stays."""
    other = target.with_name(".other.wpool.wpack-01234567.tmp")
    other.touch()
    with durable.replacing(target, 3, force=True) as output:
        replace(target)
        output.write_at(b"abc", 0)

    assert b"abc" == target.read_bytes()
    assert {other, target} == set(target.parent.iterdir())


def test_w04_sweeping_spares_a_writer_about_to_rename(target: Path) -> None:
    """The temporary stays locked until it has its name, though it is closed by then."""

    class Racing(FaultyOs):
        def replace(self, temporary: str, path: str) -> None:
            durable.write_bytes(path, b"in between", force=True)
            assert b"in between" == Path(path).read_bytes()
            os.replace(temporary, path)

    replace(target, Racing())

    assert_only(target, NEW)


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, ValueError])
def test_w10_interrupted(target: Path, raised: type[BaseException]) -> None:
    """Whatever ends the writing, the old file stays and the temporary goes."""

    def write() -> None:
        with durable.replacing(target, 9, force=True) as output:
            output.write_at(b"half", 0)
            raise raised

    with pytest.raises(raised):
        write()

    assert_only(target, OLD)


def test_w12_folder_that_cannot_be_flushed(target: Path) -> None:
    """A filesystem that cannot flush folders gets a warning, and the file."""
    with pytest.warns(RuntimeWarning) as warned:
        replace(target, FaultyOs(CALLS.index("fsync", RENAMED), errno.EINVAL))

    assert (
        f"{target.parent}: the folder cannot be flushed; a power cut now may bring the"
        " old file back" == str(warned[0].message)
    )
    assert_only(target, NEW)


def test_a_write_that_writes_nothing(target: Path) -> None:
    """It is an error: tried again, it might write nothing for ever."""

    class Stuck(FaultyOs):
        def pwrite(self, fd: int, data: memoryview, at_byte: int) -> int:
            return 0

    with pytest.raises(StorageError) as error:
        replace(target, Stuck())

    assert "writing failed: nothing written" == refusal(error, target)
    assert_only(target, OLD)


def test_where_folders_cannot_be_opened(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows gives folders no descriptor: the file is renamed, and that is all."""
    monkeypatch.delattr(os, "O_DIRECTORY")
    system = FaultyOs()
    replace(target, system)

    assert CALLS[:RENAMED] == system.calls
    assert_only(target, NEW)
