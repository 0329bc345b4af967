"""What is no file of tensors, or no file: H29 and H30."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

from tests.hostile.case import EVERY, OF_POOL_FILES, Case, pool_case, written


def _looks_like(folder: Path, data: bytes, what: str) -> Case:
    case = pool_case(folder, data, f"not a safetensors or .wpool file but {what}")
    return replace(case, commands=OF_POOL_FILES, but={})


def h29_hdf5(folder: Path) -> Case:
    what = "an HDF5 file. Convert it to safetensors first"
    return _looks_like(folder, b"\x89HDF\r\n\x1a\n" + bytes(600), what)


def h29_numpy(folder: Path) -> Case:
    what = "a numpy array. Convert it to safetensors first"
    return _looks_like(folder, b"\x93NUMPY\1\0v\0" + bytes(600), what)


def h29_zstandard(folder: Path) -> Case:
    what = "Zstandard-compressed. Decompress it with `unzstd` first"
    return _looks_like(folder, b"\x28\xb5\x2f\xfd" + bytes(600), what)


def h29_xml(folder: Path) -> Case:
    what = "a web page. The download failed: look into the file, then download it again"
    return _looks_like(folder, b"<?xml version='1.0'?><Error>AccessDenied", what)


def h29_zip_named_wpool(folder: Path) -> Case:
    what = "a zip archive. If torch.save wrote it, name it *.pt"
    return _looks_like(folder, b"PK\3\4" + bytes(600), what)


def h29_pickle_named_wpool(folder: Path) -> Case:
    what = "a Python pickle. If torch.save wrote it, name it *.pt"
    return _looks_like(folder, b"\x80\4\x95" + bytes(600), what)


def h29_index_named_wpool(folder: Path) -> Case:
    what = (
        "JSON text. If it is the index of a sharded checkpoint, name it"
        " *.safetensors.index.json"
    )
    return _looks_like(folder, b'{"weight_map": {"w": "a.safetensors"}}', what)


def _no_file(folder: Path, what: str, name: str = "x.wpool") -> Case:
    return Case(name, f"{name}: {what}", EVERY)


def h30_nothing(folder: Path) -> Case:
    return _no_file(folder, "there is no such file")


def h30_folder(folder: Path) -> Case:
    (folder / "x.wpool").mkdir()
    case = _no_file(folder, "is a folder; a file is needed")
    empty = "holds no checkpoint: no .safetensors, .bin, .pt, .pth or .th file"
    others = dict.fromkeys(("plan", "compress"), f"{case.file}: {empty}")
    return replace(case, commands=OF_POOL_FILES, but=others)


def h30_pipe(folder: Path) -> Case:
    os.mkfifo(folder / "x.wpool")
    return _no_file(folder, "is a pipe; a file is needed")


def h30_pipe_as_a_checkpoint(folder: Path) -> Case:
    os.mkfifo(folder / "x.pt")
    return _no_file(folder, "is a pipe; a file is needed", "x.pt")


def h30_socket(folder: Path) -> Case:
    with socket.socket(socket.AF_UNIX) as listening:
        # A socket's path must be short.
        here = os.open(folder, os.O_RDONLY)
        listening.bind(f"/proc/self/fd/{here}/x.wpool")
        os.close(here)
    return _no_file(folder, "is a socket; a file is needed")


def h30_endless_device(folder: Path) -> Case:
    (folder / "x.wpool").symlink_to("/dev/zero")
    return _no_file(folder, "is a device; a file is needed")


def h30_link_to_nothing(folder: Path) -> Case:
    (folder / "x.wpool").symlink_to("gone")
    return _no_file(folder, "there is no such file")


def h30_links_in_a_circle(folder: Path) -> Case:
    (folder / "x.wpool").symlink_to("y.wpool")
    (folder / "y.wpool").symlink_to("x.wpool")
    return _no_file(folder, "cannot be opened: Too many levels of symbolic links")


def h30_name_too_long(folder: Path) -> Case:
    name = "x" * 300 + ".safetensors"
    return _no_file(folder, "cannot be opened: File name too long", name)


def h30_name_that_breaks_lines(folder: Path) -> Case:
    """The path is told in escapes, and the sentence stays one line."""
    name = "x\x1b[31m\u2028.wpool"
    written(folder / name, b"")
    says = r"x\x1b[31m\u2028.wpool: not a safetensors or .wpool file (0 bytes)"
    commands = tuple(c for c in OF_POOL_FILES if c not in ("verify", "stats --json"))
    return Case(name, says, commands)
