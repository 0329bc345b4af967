"""Opening and reading input files: regular ones only, through one descriptor."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crafting import refusal, safetensors
from wpack.errors import FormatError, StorageError
from wpack.header import read_header, read_raw
from wpack.inputs import open_regular, read_bytes


def _make_folder(path: Path) -> None:
    path.mkdir()


def _make_pipe(path: Path) -> None:
    os.mkfifo(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        # The name of a socket is at most 107 bytes long.
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


def _make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (_make_folder, "a folder"),
        (_make_pipe, "a pipe"),
        (_make_socket, "a socket"),
        (_make_device, "a device"),
    ],
)
def test_h30_no_regular_file(
    tmp_path: Path, make: Callable[[Path], object], kind: str
) -> None:
    """Folders, pipes, sockets and devices are refused, and nothing blocks."""
    path = tmp_path / "x"
    make(path)

    with pytest.raises(StorageError) as error:
        open_regular(path)

    assert f"is {kind}; a file is needed" == refusal(error, path)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "there is no such file"),
        ("nowhere", "there is no such file"),
        ("x", "cannot be opened: Too many levels of symbolic links"),
    ],
)
def test_names_without_a_file(tmp_path: Path, target: str | None, message: str) -> None:
    """A missing file, a dangling link and a loop of links are told apart."""
    path = tmp_path / "x"
    if target:
        path.symlink_to(target)

    with pytest.raises(StorageError) as error:
        open_regular(path)

    assert message == refusal(error, path)


def test_file_cut_while_it_is_read(tmp_path: Path) -> None:
    """Data that has gone since the header was read is an error, not a short array."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors([("w", "F32", [4], bytes(16))]))
    fd = open_regular(path)
    found = read_header(fd, str(path))
    os.truncate(path, found.file_bytes - 4)

    with pytest.raises(FormatError, match="truncated: needs 80 bytes, has 76"):
        read_raw(fd, found, found.entries[0], 0, 4, str(path))
    os.close(fd)


def test_name_with_a_nul() -> None:
    """A path that no system call takes is an error of ours, not a ValueError."""
    with pytest.raises(StorageError) as error:
        open_regular("a\0b")

    assert "a\0b: cannot be opened: embedded null byte" == str(error.value)


def test_read_error(tmp_path: Path) -> None:
    """What the operating system reports is passed on with the place."""
    folder = os.open(tmp_path, os.O_RDONLY)

    with pytest.raises(StorageError) as error:
        read_bytes(folder, 4, 1, "here")
    os.close(folder)

    assert "here: cannot be read at byte 4: Is a directory" == str(error.value)
