"""Sharded checkpoints: the index is a stranger's, and must agree with its shards."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wpack import checkpoint
from wpack.checkpoint import index, opened
from wpack.errors import CheckpointError, WpackError
from wpack.tensors import FLOAT32, TensorInfo

NAME = "model.safetensors.index.json"


def write(path: Path, **values: float) -> None:
    """A shard of two-element tensors."""
    infos = [TensorInfo(name, FLOAT32, (2,)) for name in values]
    arrays = [(name, [np.full(2, v, "<f4")]) for name, v in values.items()]
    checkpoint.write_safetensors(path, infos, arrays, force=True)


def indexed(folder: Path, files: dict[str, Any], total_size: Any = 24) -> Path:
    """An index."""
    path = folder / NAME
    metadata = {"total_size": total_size}
    path.write_text(json.dumps({"metadata": metadata, "weight_map": files}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tensors in two shards, each stored against the order of its name."""
    write(tmp_path / "b.safetensors", x=1.0)
    write(tmp_path / "a.safetensors", z=3.0, y=2.0)
    indexed(
        tmp_path, {"x": "b.safetensors", "y": "a.safetensors", "z": "a.safetensors"}
    )
    return tmp_path


def refused(path: Path) -> WpackError:
    """The error that opening gives."""
    with pytest.raises(WpackError) as caught:
        checkpoint.open(path)
    return caught.value


def test_the_number_of_shards_is_limited(folder: Path) -> None:
    """A shard too many is refused before any is looked for."""
    files = {f"t{i}": f"{i}.safetensors" for i in range(index.MAX_SHARDS + 1)}
    path = indexed(folder, files)

    assert f"{path}: names 16385 shards; the limit is 16384" == str(refused(path))


@pytest.mark.parametrize("named", ["", NAME])
def test_the_folder_and_the_index_stand_for_the_shards(
    folder: Path, named: str
) -> None:
    """Shards follow each other by name, tensors by place."""
    with checkpoint.open(folder / named) as opened:
        values = {info.name: opened.read(info.name).tolist() for info in opened.infos}

    assert {"z": [3.0, 3.0], "y": [2.0, 2.0], "x": [1.0, 1.0]} == values
    assert ["z", "y", "x"] == list(values)
    assert "sharded" == opened.format
    assert [] == opened.notes


def test_the_source_is_what_sha256sum_prints(folder: Path) -> None:
    """So that anyone can compare it without wpack."""
    with checkpoint.open(folder) as opened:
        source = opened.source()
    printed = subprocess.run(
        "sha256sum *.safetensors | sha256sum",
        shell=True,
        cwd=folder,
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout
    lines = "".join(
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
        for name in ("a.safetensors", "b.safetensors")
    )

    assert printed.decode().split()[0] == source.sha256
    assert hashlib.sha256(lines.encode()).hexdigest() == source.sha256
    assert sum(p.stat().st_size for p in folder.glob("*.safetensors")) == source.nbytes
    assert folder.name == source.name


def test_few_shards_are_open_at_a_time(tmp_path: Path) -> None:
    """Whatever the number of shards and the order of reading."""
    names = [f"{i:02}.safetensors" for i in range(12)]
    for i, name in enumerate(names):
        write(tmp_path / name, **{f"t{i}": float(i)})
    indexed(tmp_path, {f"t{i}": name for i, name in enumerate(names)}, 96)
    before = len(os.listdir("/dev/fd"))
    most = 0
    with checkpoint.open(tmp_path) as sharded:
        for turn in range(24):
            i = turn * 5 % 12
            assert [float(i)] * 2 == sharded.read(f"t{i}").tolist()
            most = max(most, len(os.listdir("/dev/fd")) - before)
        sharded.source()

    assert opened.MAX_OPEN == most
    assert before == len(os.listdir("/dev/fd"))


@pytest.mark.parametrize(
    "name",
    [
        *("../x", "/etc/passwd", "a/../../b", "a/b", "C:\\x", "C:x", "\\\\srv\\x"),
        *("x\0", "", ".", "..", "a\nb", 7, None, ["a"], {"a": 1}, True),
    ],
)
def test_c12_only_names_beside_the_index_are_opened(tmp_path: Path, name: Any) -> None:
    """Refused by their form, before anything is opened."""
    path = indexed(tmp_path, {"w": name})

    assert (
        f"{path}: sends tensor 'w' to {name!r:.80}; only names of files beside the"
        " index are allowed"
    ) == str(refused(path))


def test_c12_a_shard_that_is_a_folder_is_refused(folder: Path) -> None:
    """Only files have tensors."""
    (folder / "b.safetensors").unlink()
    (folder / "b.safetensors").mkdir()

    assert (f"{folder / 'b.safetensors'}: is a folder; a file is needed") == str(
        refused(folder)
    )


def test_c13_a_shard_that_links_elsewhere_is_refused(folder: Path) -> None:
    """Its content would go into a file that others may see."""
    secret = folder.parent / "secret.safetensors"
    (folder / "b.safetensors").rename(secret)
    (folder / "b.safetensors").symlink_to(secret)

    assert (
        f"{folder / 'b.safetensors'}: is a symbolic link to {secret}, outside its"
        " folder. Put the file itself there, if you trust it"
    ) == str(refused(folder / NAME))


def test_c15_all_missing_shards_are_named(folder: Path) -> None:
    """One round of downloads is enough."""
    (folder / "b.safetensors").unlink()
    (folder / "a.safetensors").unlink()

    assert (
        f"{folder / NAME}: 2 of 2 shards are missing: 'a.safetensors', 'b.safetensors'."
        " Download or copy them again"
    ) == str(refused(folder))


def test_c15_a_tensor_in_two_shards_is_refused(folder: Path) -> None:
    """Which of the two is meant, nobody knows."""
    write(folder / "b.safetensors", x=1.0, y=5.0)

    assert (
        f"{folder / NAME}: tensor 'y' stands in two shards: a.safetensors and"
        " b.safetensors"
    ) == str(refused(folder))


def test_c15_a_tensor_that_its_shard_lacks_is_refused(folder: Path) -> None:
    """Index and shards are of different downloads."""
    files = {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}
    path = indexed(folder, {**files, "v": "a.safetensors"})

    assert (
        f"{path}: 2 tensors are not in the shards that the index names: 'v', 'z'."
        " Download or copy index and shards again, together"
    ) == str(refused(folder))


def test_c15_a_tensor_that_the_index_lacks_is_refused(folder: Path) -> None:
    """It would be lost, or taken by chance."""
    path = indexed(folder, {"x": "b.safetensors", "y": "a.safetensors"})

    assert (
        f"{path}: 1 tensors of the shards are not in the index: 'z'."
        " Download or copy index and shards again, together"
    ) == str(refused(folder))


def test_c15_a_wrong_total_size_and_an_extra_shard_are_noted(folder: Path) -> None:
    """Neither keeps the checkpoint from being what it is."""
    write(folder / "c.safetensors", v=1.0)
    files = {"x": "b.safetensors", "y": "a.safetensors", "z": "a.safetensors"}
    indexed(folder, files, 25)
    with checkpoint.open(folder) as opened:
        pass

    assert [
        "the index says total_size 25, the tensors take 24 bytes",
        "left out what the index does not name: 'c.safetensors'",
    ] == opened.notes


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('{"weight_map":{"x":"a","x":"b"}}', "the key 'x' stands twice in one object"),
        ('{"weight_map":{}}', "has no weight_map: not the index of a checkpoint"),
        ('{"weight_map":[]}', "has no weight_map: not the index of a checkpoint"),
        ('{"metadata":{}}', "has no weight_map: not the index of a checkpoint"),
        ('{"weight_map":', "not JSON: Expecting value at character 14"),
        ('{"a":NaN}', "the number NaN is not an integer"),
        ('{"a":' + "[" * 3000 + "}", "not JSON: nested too deeply"),
        ('{"a":[' + "[]," * 9000 + "]}", "has more brackets than an index can need"),
    ],
)
def test_c16_the_index_is_read_strictly(tmp_path: Path, text: str, what: str) -> None:
    """One meaning, bounded work."""
    path = tmp_path / NAME
    path.write_text(text)

    assert f"{path}: {what}" == str(refused(path))


def test_c16_an_index_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """With the place."""
    path = tmp_path / NAME
    path.write_bytes(b'{"weight_map":{"\xff":"a"}}')

    assert f"{path}: is not UTF-8 at byte 16" == str(refused(path))


def test_c16_a_huge_index_is_not_read(tmp_path: Path) -> None:
    """It is refused by its size."""
    path = tmp_path / NAME
    path.write_text("{")
    os.truncate(path, index.MAX_INDEX + 1)
    with path.open("r+b") as file:
        file.write(b"{" + b" " * 600)

    assert (
        f"{path}: the index is {index.MAX_INDEX + 1} bytes; the limit is"
        f" {index.MAX_INDEX}"
    ) == str(refused(path))


def test_an_index_is_no_shard(folder: Path) -> None:
    """An index that names an index does not start a search."""
    (folder / "b.safetensors").write_text('{"weight_map": {}}')

    assert (f"{folder / 'b.safetensors'}: is JSON, not a file of tensors") == str(
        refused(folder)
    )


def test_c18_a_shard_replaced_between_two_reads_is_found(folder: Path) -> None:
    """A shard that was closed is looked at again when it is opened."""
    sharded = checkpoint.open(folder)
    write(folder / "b.safetensors", x=9.0)

    with pytest.raises(CheckpointError, match="changed while it was being read"):
        sharded.read("x")
    with pytest.raises(CheckpointError, match="changed while it was being read"):
        sharded.check_unchanged()
    sharded.close()


def test_shards_of_torch_are_read(tmp_path: Path) -> None:
    """An index may send tensors to files of torch.save."""
    import torch

    torch.save({"x": torch.ones(2)}, tmp_path / "m-1.bin")
    torch.save({"y": torch.zeros(1, 3)}, tmp_path / "m-2.bin")
    path = tmp_path / "pytorch_model.bin.index.json"
    path.write_text('{"weight_map": {"y": "m-2.bin", "x": "m-1.bin"}}')
    with checkpoint.open(tmp_path) as opened:
        values = {i.name: (i.shape, opened.read(i.name).tolist()) for i in opened.infos}

    assert {"x": ((2,), [1.0, 1.0]), "y": ((1, 3), [0.0, 0.0, 0.0])} == values
    assert "sharded" == opened.format
