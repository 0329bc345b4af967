"""What a file is, its content says; what cannot be read is refused with its reason."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoint.files import refused, write
from wpack import checkpoint
from wpack.checkpoint.wrappers import RECIPE
from wpack.errors import CheckpointError, FormatError, StorageError
from wpack.tensors import FLOAT32, TensorInfo


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".bin", ".json", ""])
def test_content_counts_and_not_the_suffix(tmp_path: Path, suffix: str) -> None:
    """Safetensors is read whatever it is called."""
    path = write(tmp_path / f"m{suffix}", w=1.0)

    assert [TensorInfo("w", FLOAT32, (1,))] == checkpoint.infos(path)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is empty"),
        (b"hello, world\n", r"is no torch checkpoint: it begins with 'hello, world\n'"),
        (b"\x00\x01\xff", "is no torch checkpoint: it begins with 00 01 ff"),
        (
            b"<!DOCTYPE html><html>",
            "is no torch checkpoint but a web page. The download failed: look into the"
            " file, then download it again",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
            "is no torch checkpoint but a Git LFS pointer."
            " Fetch it with `git lfs pull`",
        ),
        (
            b"storages".ljust(257, b"\0") + b"ustar".ljust(300, b"\0"),
            f"is a tar archive, as torch before 0.1.10 wrote them. {RECIPE}",
        ),
        (b'{"weights": 1}', "has no weight_map: not the index of a checkpoint"),
        (
            b"[1, 2]",
            "is no torch checkpoint but JSON text. If it is the index of a"
            " sharded checkpoint, name it *.safetensors.index.json",
        ),
    ],
)
def test_c03_other_content_is_named(tmp_path: Path, data: bytes, what: str) -> None:
    """In our own words, not in those of a parser that expected something else."""
    path = tmp_path / "m.pt"
    path.write_bytes(data)
    error = refused(path)

    assert isinstance(error, CheckpointError)
    assert f"{path}: {what}" == str(error)


@pytest.mark.parametrize(
    ("name", "data", "what"),
    [
        ("m.safetensors", b"", "not a safetensors or .wpool file (0 bytes)"),
        (
            "m",
            b"hello, world",
            "its header length is 8583909746840200552; safetensors allows 100000000",
        ),
        (
            "m.safetensors",
            (4096).to_bytes(8, "little") + b'{"w":',
            "truncated: needs at least 4104 bytes, has 13. Download or copy it again",
        ),
    ],
)
def test_c03_what_is_not_called_torch_gets_the_words_of_the_header(
    tmp_path: Path, name: str, data: bytes, what: str
) -> None:
    """The header's reader knows best what is wrong with a header."""
    path = tmp_path / name
    path.write_bytes(data)
    error = refused(path)

    assert isinstance(error, FormatError)
    assert f"{path}: {what}" == str(error)


@pytest.mark.parametrize("begin", [b"{", b" {"])
def test_a_header_length_that_spells_json_is_no_index(
    tmp_path: Path, begin: bytes
) -> None:
    """A truncated file is still one of safetensors."""
    path = tmp_path / "m.safetensors"
    path.write_bytes(begin.ljust(8, b"\0") + b'{"w":{"dtype"')

    assert isinstance(refused(path), FormatError)


@pytest.mark.parametrize("protocol", range(6))
def test_c01_a_plain_pickle_is_not_run(tmp_path: Path, protocol: int) -> None:
    """Whatever the protocol and the suffix: it is recognised and left alone."""
    marker = tmp_path / "ran"
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps(Malicious(marker), protocol))
    error = refused(path)

    assert not marker.exists()
    assert isinstance(error, CheckpointError)
    assert (
        f"{path}: is a Python pickle that torch.save did not write; pickles are not"
        f" run. {RECIPE}"
    ) == str(error)


class Malicious:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_torch_is_imported_for_its_own_files_only(tmp_path: Path) -> None:
    """It takes seconds, and a safetensors file needs none of it."""
    path = write(tmp_path / "m.safetensors", w=1.0)
    code = (
        "import sys; from wpack import checkpoint\n"
        f"with checkpoint.open({str(path)!r}) as c: c.read('w'), c.source()\n"
        "print('torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert b"False" == run.stdout.strip()


def test_there_is_no_such_file(tmp_path: Path) -> None:
    """The path is named."""
    path = tmp_path / "m.pt"

    assert f"{path}: there is no such file" == str(refused(path))


def test_c14_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    """Named on the command line or standing in a folder."""
    path = tmp_path / "model.safetensors"
    path.symlink_to(path)
    message = f"{path}: cannot be opened: Too many levels of symbolic links"

    assert message == str(refused(path))
    assert message == str(refused(tmp_path))


def test_c14_a_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    """Opening a pipe would wait for its writer."""
    path = tmp_path / "m.pt"
    os.mkfifo(path)
    error = refused(path)

    assert isinstance(error, StorageError)
    assert f"{path}: is a pipe; a file is needed" == str(error)


def replaced(path: Path) -> None:
    """Another file of its size and time takes its name."""
    status = path.stat()
    other = write(path.with_name("other"), w=2.0)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


def touched(path: Path) -> None:
    """The same bytes, written again."""
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))


def grown(path: Path) -> None:
    """The same inode, longer, with the old time."""
    status = path.stat()
    with path.open("ab") as file:
        file.write(b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def read_meanwhile(path: Path, happens: Callable[[Path], None]) -> None:
    """Something happens to a file while it is read."""
    with checkpoint.open(path) as opened:
        opened.read("w")
        happens(path)


@pytest.mark.parametrize("change", [replaced, touched, grown, os.remove])
def test_c18_a_change_while_it_is_read_is_found(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """At the end of the ``with`` block, and whenever it is asked for."""
    path = write(tmp_path / "m.safetensors", w=1.0)
    with pytest.raises(CheckpointError) as caught:
        read_meanwhile(path, change)

    assert (
        f"{path}: changed while it was being read. Run again when nothing writes to it"
    ) == str(caught.value)


def test_c18_another_error_is_not_hidden_by_the_change(tmp_path: Path) -> None:
    """What happened first is what the user is told."""
    path = write(tmp_path / "m.safetensors", w=1.0)

    def fail(path: Path) -> None:
        path.unlink()
        raise KeyError("first")

    with pytest.raises(KeyError, match="first"):
        read_meanwhile(path, fail)


def test_c18_a_file_opened_again_is_the_same_one(tmp_path: Path) -> None:
    """Between closing and reopening, a file can be replaced."""
    path = write(tmp_path / "m.safetensors", w=1.0)
    opened = checkpoint.open(path)
    opened.close()
    before = opened.read("w").tolist()
    opened.close()
    replaced(path)

    assert [1.0] == before
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        opened.read("w")
