"""What tensors a torch file may hold, and which of them are one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.checkpoint.torch_files import everything, refused, save
from tests.crafting import refusal
from wpack import checkpoint
from wpack.checkpoint.handle import Handle
from wpack.checkpoint.torch_tensors import describe
from wpack.errors import CheckpointError
from wpack.inputs import AGAIN
from wpack.tensors import BY_NAME, DType, TensorInfo

ODD: dict[str, tuple[Callable[[], torch.Tensor], str]] = {
    "coo": (
        lambda: torch.eye(3).to_sparse(),
        "is sparse_coo, not dense. Save tensor.to_dense()",
    ),
    "csr": (
        lambda: torch.eye(3).to_sparse_csr(),
        "is sparse_csr, not dense. Save tensor.to_dense()",
    ),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "is quantised (qint8). Save tensor.dequantize()",
    ),
    "meta": (
        lambda: torch.ones(3, device="meta"),
        "has no data (device meta). Save it from a model that was loaded",
    ),
    "complex128": (
        lambda: torch.ones(3, dtype=torch.complex128),
        "has the dtype complex128, which no file can hold. Cast it to one of:"
        f" {', '.join(BY_NAME)}",
    ),
    "rank": (
        lambda: torch.ones([1] * 33),
        "has 33 dimensions; the limit is 32. Reshape it",
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_c07_tensors_that_are_not_dense_are_refused(tmp_path: Path, kind: str) -> None:
    """By their names, with what to save instead."""
    make, what = ODD[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = {"v": torch.ones(1), "w": make()}
        path = save(tmp_path / "m.pt", tree)

    assert f"tensor 'w' {what}" == refused(path)


def test_c07_nested_tensors_are_refused(tmp_path: Path) -> None:
    """By name where torch rebuilds them without being told to trust the file; newer
    releases do not, and then the object it would take is named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        path = save(tmp_path / "m.pt", {"w": nested})
    by_name = "tensor 'w' is nested, not dense. Save its parts as tensors of their own"
    by_object = "needs the Python object torch._utils._rebuild_nested_tensor, which"

    assert refused(path).startswith((by_name, by_object))

    handle = Handle(path)
    with pytest.raises(CheckpointError) as error:
        describe({"w": nested}, handle)
    handle.close()

    assert f"{path}: {by_name}" == str(error.value)


def test_c08_equal_views_of_one_memory_are_aliases(tmp_path: Path) -> None:
    """The first name is kept; a dimension of one element has no arrangement."""
    w = torch.arange(6.0).reshape(1, 6)
    tree = {"a": w, "b": w, "c": torch.nn.Parameter(w.clone()), "d": w.T.T, "e": w[:1]}
    tree["f"] = w.as_strided((1, 6), (99, 1))
    path = save(tmp_path / "m.pt", tree)

    assert [None, "a", None, "a", "a", "a"] == [
        info.alias_of for info in checkpoint.infos(path)
    ]
    assert ((1, 6), w.flatten().tolist()) == everything(path)["b"]


def test_c08_other_views_are_tensors_of_their_own(tmp_path: Path) -> None:
    """In row-major order, with a note; empty ones share nothing."""
    w = torch.arange(6.0).reshape(2, 3)
    tree = {"a": w, "t": w.T, "s": w[1:], "f": w.flatten(), "y": w[:0], "z": w[:0]}
    path = save(tmp_path / "m.pt", tree)
    with checkpoint.open(path) as opened:
        notes = opened.notes

    assert {
        name: (tuple(tensor.shape), tensor.flatten().tolist())
        for name, tensor in tree.items()
    } == everything(path)
    assert all(info.alias_of is None for info in opened.infos)
    assert [
        "'f' lies in the memory of 'a' without being equal to it, and 2 more do so:"
        " each is taken as a tensor of its own"
    ] == notes


def test_c08_a_slice_of_a_large_storage_costs_its_own_size(tmp_path: Path) -> None:
    """Slices that do not meet are not worth a note."""
    storage = torch.arange(10_000.0)
    path = save(tmp_path / "m.pt", {"a": storage[5:8], "b": storage[9_000:9_002]})
    with checkpoint.open(path) as opened:
        notes = opened.notes

    assert {"a": ((3,), [5.0, 6.0, 7.0]), "b": ((2,), [9000.0, 9001.0])} == everything(
        path
    )
    assert [] == notes


def test_c08_lazily_conjugated_and_negated_views_are_resolved(tmp_path: Path) -> None:
    """Their memory holds other values than they do."""
    z = torch.tensor([1 + 2j, 3 - 4j])
    trees = [{"c": z.conj()}, {"n": z.conj().imag}, {"e": torch.ones(1).expand(3)}]

    for i, tree in enumerate(trees):
        assert {
            name: (tuple(tensor.shape), tensor.tolist())
            for name, tensor in tree.items()
        } == everything(save(tmp_path / f"{i}.pt", tree))


def test_c08_one_element_of_a_column(tmp_path: Path) -> None:
    """It has the column's stride, and counts as contiguous all the same."""
    one = torch.arange(6.0).reshape(3, 2)[1:2, 1]
    path = save(tmp_path / "m.pt", {"w": one, "b": one.expand(1).half()})

    assert (2,) == one.stride()
    assert {"w": ((1,), [3.0]), "b": ((1,), [3.0])} == everything(path)


@pytest.mark.parametrize("dtype", BY_NAME.values(), ids=str)
def test_c09_every_dtype_passes_bit_by_bit(tmp_path: Path, dtype: DType) -> None:
    """In blocks, too."""
    bits = np.arange(dtype.itemsize * 6, dtype="u1") % (
        2 if dtype.code == "BOOL" else 99
    )
    tensor = torch.from_numpy(bits).view(getattr(torch, dtype.name)).reshape(2, 3)
    path = save(tmp_path / "m.pt", {"w": tensor})
    with checkpoint.open(path) as opened:
        read = [opened.read("w", first, 2) for first in (0, 2, 4)]

    assert [TensorInfo("w", dtype, (2, 3))] == opened.infos
    assert bits.tobytes() == b"".join(block.tobytes() for block in read)


def test_h24_a_bool_that_is_none_is_refused(tmp_path: Path) -> None:
    """No safetensors file could hold it."""
    tensor = torch.tensor([0, 2], dtype=torch.uint8).view(torch.bool)
    opened = checkpoint.open(save(tmp_path / "m.pt", {"w": tensor}))
    with pytest.raises(CheckpointError) as caught:
        opened.read("w")
    opened.close()

    assert (f"tensor 'w' has a bool that is neither 0 nor 1. {AGAIN}") == refusal(
        caught, tmp_path / "m.pt"
    )
