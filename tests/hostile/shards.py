"""Hostile indexes, and folders that are not what their index says: C12 to C18."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.crafting import safetensors
from tests.hostile.case import OF_CHECKPOINTS, Case, written
from wpack.checkpoint.index import MAX_SHARDS

INDEX = "model.safetensors.index.json"
_TOGETHER = "Download or copy index and shards again, together"


def _shard(folder: Path, name: str, *tensors: str) -> None:
    stored = [(tensor, "F32", [2, 2], bytes(16)) for tensor in tensors]
    written(folder / name, safetensors(stored))


def _index(folder: Path, files: Mapping[str, Any], message: str) -> Case:
    """An index that sends tensors to files."""
    return _text(folder, json.dumps({"weight_map": files}), message)


def _text(folder: Path, text: str | bytes, message: str) -> Case:
    file = written(folder / INDEX, text)
    return Case(file, f"{file}: {message}", OF_CHECKPOINTS)


def _elsewhere(folder: Path, name: Any) -> Case:
    """A shard that is no name of a file beside the index.  There is such a file, and
    it could be read."""
    inner = folder / "inner"
    inner.mkdir()
    _shard(folder, "secret.safetensors", "w")
    _shard(inner, "secret.safetensors", "w")
    case = _index(
        inner,
        {"w": name},
        f"sends tensor 'w' to {name!r}; only names of files beside the index are"
        " allowed",
    )
    return Case(f"inner/{case.file}", f"inner/{case.says}", case.commands)


def c12_file_above(folder: Path) -> Case:
    return _elsewhere(folder, "../secret.safetensors")


def c12_file_above_the_long_way(folder: Path) -> Case:
    return _elsewhere(folder, "a/../../secret.safetensors")


def c12_absolute_path(folder: Path) -> Case:
    return _elsewhere(folder, "/etc/passwd")


def c12_path_of_a_drive(folder: Path) -> Case:
    return _elsewhere(folder, "C:\\secret.safetensors")


def c12_path_of_a_server(folder: Path) -> Case:
    return _elsewhere(folder, "\\\\server\\secret.safetensors")


def c12_path_with_nul(folder: Path) -> Case:
    return _elsewhere(folder, "secret.safetensors\0")


def c12_path_with_escape(folder: Path) -> Case:
    return _elsewhere(folder, "\x1b[2Jsecret.safetensors")


def c12_folder_below(folder: Path) -> Case:
    return _elsewhere(folder, "./secret.safetensors")


def c12_folder_itself(folder: Path) -> Case:
    return _elsewhere(folder, ".")


def c12_folder_above(folder: Path) -> Case:
    return _elsewhere(folder, "..")


def c12_no_name(folder: Path) -> Case:
    return _elsewhere(folder, "")


def c12_list_of_files(folder: Path) -> Case:
    return _elsewhere(folder, ["secret.safetensors"])


def _linked(folder: Path, target: str | Path, message: str) -> Case:
    """A shard that is a link."""
    shard = folder / "a.safetensors"
    shard.symlink_to(target)
    _index(folder, {"w": shard.name}, "")
    return Case(INDEX, f"{shard.name}: {message}", OF_CHECKPOINTS)


def c13_link_to_a_file_above(folder: Path) -> Case:
    return _outside(folder, "../secret.safetensors")


def c13_link_to_an_absolute_path(folder: Path) -> Case:
    return _outside(folder, str(folder.resolve() / "secret.safetensors"))


def c13_link_through_a_folder_that_is_a_link(folder: Path) -> Case:
    inner = folder / "inner"
    inner.mkdir()
    (inner / "sub").symlink_to("..")
    return _outside(folder, "sub/secret.safetensors")


def _outside(folder: Path, target: str) -> Case:
    """A shard in a folder of its own, that is a link out of it to a sound file."""
    inner = folder / "inner"
    inner.mkdir(exist_ok=True)
    _shard(folder, "secret.safetensors", "w")
    case = _linked(
        inner,
        target,
        f"is a symbolic link to {folder.resolve() / 'secret.safetensors'}, outside its"
        " folder. Put the file itself there, if you trust it",
    )
    return Case(f"inner/{case.file}", f"inner/{case.says}", case.commands)


def c13_whole_checkpoint_is_a_link_out_of_its_folder(folder: Path) -> Case:
    """In a folder that is named, not the file: the user did not choose it."""
    inner = folder / "inner"
    inner.mkdir()
    _shard(folder, "secret.safetensors", "w")
    (inner / "model.safetensors").symlink_to("../secret.safetensors")
    says = (
        f"inner/model.safetensors: is a symbolic link to"
        f" {folder.resolve() / 'secret.safetensors'}, outside its folder. Put the file"
        " itself there, if you trust it"
    )
    return Case("inner", says, OF_CHECKPOINTS)


def c14_links_in_a_circle(folder: Path) -> Case:
    (folder / "b.safetensors").symlink_to("a.safetensors")
    says = "cannot be opened: Too many levels of symbolic links"
    return _linked(folder, "b.safetensors", says)


def c14_link_to_nothing(folder: Path) -> Case:
    return _linked(folder, "gone", "there is no such file")


def c14_shard_that_is_a_pipe(folder: Path) -> Case:
    os.mkfifo(folder / "a.safetensors")
    _index(folder, {"w": "a.safetensors"}, "")
    says = "a.safetensors: is a pipe; a file is needed"
    return Case(INDEX, says, OF_CHECKPOINTS)


def c14_shard_that_is_a_device(folder: Path) -> Case:
    return _linked(
        folder,
        "/dev/zero",
        "is a symbolic link to /dev/zero, outside its folder. Put the file itself"
        " there, if you trust it",
    )


def c15_shard_that_is_not_there(folder: Path) -> Case:
    _shard(folder, "a.safetensors", "w")
    says = "1 of 2 shards are missing: 'b.safetensors'. Download or copy them again"
    return _index(folder, {"w": "a.safetensors", "v": "b.safetensors"}, says)


def c15_thousand_shards_that_are_not_there(folder: Path) -> Case:
    files = {f"t{i}": f"{i:04}.safetensors" for i in range(1000)}
    listed = ", ".join(f"'{i:04}.safetensors'" for i in range(8))
    says = (
        f"1000 of 1000 shards are missing: {listed} and 992 more. Download or copy"
        " them again"
    )
    return _index(folder, files, says)


def c15_more_shards_than_there_can_be(folder: Path) -> Case:
    files = {f"t{i}": f"{i}.safetensors" for i in range(MAX_SHARDS + 1)}
    return _index(folder, files, "names 16385 shards; the limit is 16384")


def c15_tensor_in_two_shards(folder: Path) -> Case:
    _shard(folder, "a.safetensors", "v", "w")
    _shard(folder, "b.safetensors", "w")
    says = "tensor 'w' stands in two shards: a.safetensors and b.safetensors"
    return _index(folder, {"v": "a.safetensors", "w": "b.safetensors"}, says)


def c15_tensor_that_no_shard_has(folder: Path) -> Case:
    _shard(folder, "a.safetensors", "w")
    says = "1 tensors are not in the shards that the index names: 'v'. " + _TOGETHER
    return _index(folder, {"v": "a.safetensors", "w": "a.safetensors"}, says)


def c15_tensor_that_the_index_lacks(folder: Path) -> Case:
    _shard(folder, "a.safetensors", "v", "w")
    says = "1 tensors of the shards are not in the index: 'w'. " + _TOGETHER
    return _index(folder, {"v": "a.safetensors"}, says)


def c15_shard_that_is_damaged(folder: Path) -> Case:
    written(folder / "a.safetensors", safetensors([("w", "U8", [4], bytes(4))])[:-1])
    _index(folder, {"w": "a.safetensors"}, "")
    says = "a.safetensors: truncated: needs 68 bytes, has 67. Download or copy it again"
    return Case(INDEX, says, OF_CHECKPOINTS)


def c15_shard_that_is_an_index(folder: Path) -> Case:
    _index(folder, {"w": INDEX}, "")
    return Case(INDEX, f"{INDEX}: is JSON, not a file of tensors", OF_CHECKPOINTS)


def c15_shard_that_is_a_pool_file(folder: Path) -> Case:
    shard = safetensors([("w", "U8", [4], bytes(4))], {"format": "wpool"})
    written(folder / "a.safetensors", shard)
    _index(folder, {"w": "a.safetensors"}, "")
    says = (
        "a.safetensors: is a .wpool already, not a checkpoint. Inflate it first: wpack"
        " inflate a.safetensors -o model.safetensors"
    )
    return Case(INDEX, says, OF_CHECKPOINTS)


def c16_key_twice(folder: Path) -> Case:
    says = "the key 'w' stands twice in one object"
    return _text(folder, '{"weight_map":{"w":"a","w":"b"}}', says)


def c16_index_of_a_gigabyte(folder: Path) -> Case:
    says = "the index is 1073741824 bytes; the limit is 16777216"
    case = _text(folder, "{" + " " * 600, says)
    os.truncate(folder / case.file, 1 << 30)
    return case


def c16_index_of_brackets(folder: Path) -> Case:
    says = "has more brackets than an index can need"
    return _text(folder, '{"a":[' + "[]," * 2_000_000 + "[]]}", says)


def c16_index_that_is_deep(folder: Path) -> Case:
    deep = '{"a":' + "[" * 3000 + "]" * 3000 + "}"
    return _text(folder, deep, "not JSON: nested too deeply")


def c16_index_that_is_cut(folder: Path) -> Case:
    says = "not JSON: Unterminated string starting at character 19"
    return _text(folder, '{"weight_map":{"w":"a.safe', says)


def c16_index_of_nan(folder: Path) -> Case:
    text = '{"metadata":{"total_size":NaN},"weight_map":{"w":"a"}}'
    return _text(folder, text, "the number NaN is not an integer")


def c16_index_without_a_map(folder: Path) -> Case:
    says = "has no weight_map: not the index of a checkpoint"
    return _text(folder, '{"architectures":["LlamaForCausalLM"]}', says)


def c16_index_not_utf_8(folder: Path) -> Case:
    return _text(folder, b'{"weight_map":{"\xff":"a"}}', "is not UTF-8 at byte 16")


def c17_two_models_in_a_folder(folder: Path) -> Case:
    inner = folder / "inner"
    inner.mkdir()
    _shard(inner, "a.safetensors", "w")
    _shard(inner, "b.safetensors", "w")
    says = (
        "inner: holds 2 files that may be the checkpoint: 'a.safetensors',"
        " 'b.safetensors'. Name the one to read"
    )
    return Case("inner", says, OF_CHECKPOINTS, status=2)
