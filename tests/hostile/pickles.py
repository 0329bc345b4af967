"""Hostile files of ``torch.save``, and what is named like one: C03 to C11."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.hostile.case import OF_CHECKPOINTS, Case, written
from wpack.checkpoint.torch_archive import MAX_PICKLE
from wpack.tensors import BY_NAME

AGAIN = "Download or copy it again"
RECIPE = (
    "Where you trust it, save its tensors alone:"
    " torch.save(model.state_dict(), 'model.pt')"
)
TENSOR = torch.arange(24.0).reshape(6, 4)


def pickle_case(folder: Path, data: bytes, message: str, name: str = "x.pt") -> Case:
    file = written(folder / name, data)
    return Case(file, f"{file}: {message}", OF_CHECKPOINTS, torch=True)


def saved(tree: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tree, buffer, **options)
    return buffer.getvalue()


def saved_case(folder: Path, tree: Any, message: str, **options: Any) -> Case:
    return pickle_case(folder, saved(tree, **options), message)


def _rezipped(data: bytes, compress: int, **added: bytes) -> bytes:
    """The entries of a zip file, written by another tool, and some more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old:
        with zipfile.ZipFile(buffer, "w", compress) as new:
            for entry in old.infolist():
                new.writestr(entry.filename, old.read(entry))
            for name, content in added.items():
                new.writestr(f"archive/{name.replace('_', '.')}", content)
    return buffer.getvalue()


def _entries(data: bytes) -> list[zipfile.ZipInfo]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.infolist()


def c03_text(folder: Path) -> Case:
    says = "is no torch checkpoint: it begins with 'epoch 1'"
    return pickle_case(folder, b"epoch 1", says)


def c03_empty(folder: Path) -> Case:
    return pickle_case(folder, b"", "is empty")


def c03_web_page(folder: Path) -> Case:
    says = (
        "is no torch checkpoint but a web page. The download failed: look into the"
        " file, then download it again"
    )
    return pickle_case(folder, b"<!doctype html><h1>404</h1>", says)


def c03_pointer(folder: Path) -> Case:
    says = "is no torch checkpoint but a Git LFS pointer. Fetch it with `git lfs pull`"
    return pickle_case(folder, b"version https://git-lfs.github.com/spec/v1\n", says)


def c03_control_characters(folder: Path) -> Case:
    says = "is no torch checkpoint: it begins with 1b 5b 32 4a 07 07 07 07"
    return pickle_case(folder, b"\x1b[2J" + b"\7" * 30, says)


def c03_cut_zip(folder: Path) -> Case:
    says = f"is a damaged torch checkpoint: File is not a zip file. {AGAIN}"
    return pickle_case(folder, saved({"weight": TENSOR})[:-100], says)


def c03_cut_old_file(folder: Path) -> Case:
    data = saved({"weight": TENSOR}, _use_new_zipfile_serialization=False)
    says = f"cannot be loaded by torch: EOFError. {AGAIN}"
    return pickle_case(folder, data[:60], says)


def c03_tar(folder: Path) -> Case:
    says = f"is a tar archive, as torch before 0.1.10 wrote them. {RECIPE}"
    return pickle_case(folder, bytes(257) + b"ustar\0" + bytes(300), says)


def c04_compressed(folder: Path) -> Case:
    data = _rezipped(saved({"weight": torch.zeros(10**6)}), zipfile.ZIP_DEFLATED)
    entry = _entries(data)[0]
    says = (
        f"its entry 'archive/data.pkl' is compressed ({entry.file_size} bytes in"
        f" {entry.compress_size}); torch.save compresses nothing. Load it in torch and"
        " save it again, if you trust it"
    )
    return pickle_case(folder, data, says)


def c04_expanded(folder: Path) -> Case:
    data = saved({"weight": torch.ones(1).expand(1 << 25)})
    says = (
        f"its tensors claim {4 << 25} bytes of a file of {len(data)}. Save expanded"
        " tensors as they are before .expand()"
    )
    return pickle_case(folder, data, says)


def c04_storage_listed_again_and_again(folder: Path) -> Case:
    data = io.BytesIO(saved({"weight": torch.zeros(10_000)}))
    with zipfile.ZipFile(data, "a") as archive:
        (storage,) = (e for e in archive.infolist() if e.filename.endswith("data/0"))
        archive.filelist += [storage] * 100
        archive._didModify = True  # type: ignore[attr-defined]
    claimed = sum(entry.file_size for entry in _entries(data.getvalue()))
    nbytes = len(data.getvalue())
    says = f"its entries claim {claimed} bytes, the file has {nbytes}. {AGAIN}"
    return pickle_case(folder, data.getvalue(), says)


def c04_pickle_above_the_limit(folder: Path) -> Case:
    pickled = b"\x80\2" + b"]" * MAX_PICKLE + b"."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    says = f"its pickle is {len(pickled)} bytes; the limit is {MAX_PICKLE}. {RECIPE}"
    return pickle_case(folder, buffer.getvalue(), says)


def c04_old_file_above_the_limit(folder: Path) -> Case:
    empty = saved({}, _use_new_zipfile_serialization=False)
    objects = empty.index(b"}q")
    text = b"X" + MAX_PICKLE.to_bytes(4, "little") + b"x" * MAX_PICKLE + b"0"
    says = f"its pickles do not end within {MAX_PICKLE} bytes. {RECIPE}"
    return pickle_case(folder, empty[:objects] + text + empty[objects:], says)


def c05_flipped_bit_in_the_pickle(folder: Path) -> Case:
    data = saved({"weight": TENSOR}).replace(b"weight", b"weighs", 1)
    says = (
        "is a damaged torch checkpoint: Bad CRC-32 for file 'archive/data.pkl'."
        f" {AGAIN}"
    )
    return pickle_case(folder, data, says)


def c05_flipped_bit_in_a_tensor(folder: Path) -> Case:
    """Found by the commands that read tensors."""
    bits = TENSOR.numpy().tobytes()
    data = saved({"weight": TENSOR}).replace(bits, b"\1" + bits[1:], 1)
    case = pickle_case(
        folder,
        data,
        "is damaged: the checksum of its entry 'archive/data/0' does not agree."
        f" {AGAIN}; if torch saved it with set_crc32_options(False), save it again"
        " without",
    )
    commands = ("inflate", "diff", "diff, the other way", "compress")
    return replace(case, commands=commands)


def c06_torchscript(folder: Path) -> Case:
    data = _rezipped(saved({"weight": TENSOR}), zipfile.ZIP_STORED, constants_pkl=b"")
    says = (
        "is a TorchScript archive, a program; only tensors are read. Save its tensors:"
        " torch.save(torch.jit.load(path).state_dict(), out)"
    )
    return pickle_case(folder, data, says)


def c06_zip_of_something_else(folder: Path) -> Case:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "text")
    says = f"is a zip file with 0 data.pkl, not a torch checkpoint. {RECIPE}"
    return pickle_case(folder, buffer.getvalue(), says)


def c06_two_pickles(folder: Path) -> Case:
    data = saved({"weight": TENSOR})
    buffer = io.BytesIO(_rezipped(data, zipfile.ZIP_STORED))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("other/data.pkl", pickle.dumps({}, 2))
    says = f"is a zip file with 2 data.pkl, not a torch checkpoint. {RECIPE}"
    return pickle_case(folder, buffer.getvalue(), says)


def c07_sparse(folder: Path) -> Case:
    says = "tensor 'weight' is sparse_coo, not dense. Save tensor.to_dense()"
    return saved_case(folder, {"weight": TENSOR.to_sparse()}, says)


def c07_no_data(folder: Path) -> Case:
    says = (
        "tensor 'weight' has no data (device meta). Save it from a model that was"
        " loaded"
    )
    return saved_case(folder, {"weight": torch.empty(6, 4, device="meta")}, says)


def c07_rank_of_33(folder: Path) -> Case:
    says = "tensor 'weight' has 33 dimensions; the limit is 32. Reshape it"
    return saved_case(folder, {"weight": torch.ones([1] * 33)}, says)


def c09_complex_of_double_precision(folder: Path) -> Case:
    says = (
        "tensor 'weight' has the dtype complex128, which no file can hold. Cast it to"
        f" one of: {', '.join(BY_NAME)}"
    )
    return saved_case(folder, {"weight": TENSOR.to(torch.complex128)}, says)


def c11_no_tensors(folder: Path) -> Case:
    return saved_case(folder, {"epoch": 3}, f"holds no tensors. {RECIPE}")


def c11_list(folder: Path) -> Case:
    says = f"holds a list, not a dict of tensors. {RECIPE}"
    return saved_case(folder, [TENSOR], says)


def c11_number_as_a_name(folder: Path) -> Case:
    says = f"names a tensor 7; a name must be a string, not an int. {RECIPE}"
    return saved_case(folder, {7: TENSOR}, says)


def c11_escape_as_a_name(folder: Path) -> Case:
    says = rf"the tensor name '\x1b[31m' holds a control character. {RECIPE}"
    return saved_case(folder, {"\x1b[31m": TENSOR}, says)


def c11_name_without_an_encoding(folder: Path) -> Case:
    says = rf"the tensor name '\ud800' is not valid Unicode. {RECIPE}"
    return saved_case(folder, {"\ud800": TENSOR}, says)


def c11_two_models(folder: Path) -> Case:
    tree = {"model": {"w": TENSOR}, "model_ema": {"w": TENSOR}}
    says = "holds several models: 'model', 'model_ema'. Choose one, as in --key model"
    return replace(saved_case(folder, tree, says), status=2)


def c11_names_that_take_turns(folder: Path) -> Case:
    """A dictionary of the same dictionaries, over and over, ten deep."""
    tree: Any = {"epoch": 1}
    for _ in range(10):
        tree = {f"k{i}": tree for i in range(10)}
    return saved_case(folder, tree, f"holds no tensors. {RECIPE}")
