"""What a loaded torch file's tensors are, and which of them share memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import CheckpointError
from ..names import shown
from ..tensors import BY_NAME, TensorInfo
from ..untrusted import MAX_RANK
from .handle import Handle
from .torch_calls import FREE_CLAIM, MAX_CLAIM

if TYPE_CHECKING:
    import torch


@dataclass
class Described:
    """Tensors without their data, and what to say about them."""

    infos: list[TensorInfo] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def describe(tensors: Mapping[str, torch.Tensor], handle: Handle) -> Described:
    """Describe dense tensors; no element is touched.

    One that is all of another's memory in the same arrangement is its alias.  One that
    shares some of it, or reads it in another arrangement, stands on its own, and a
    note says so.

    Raises:
        CheckpointError: A tensor is not dense, has no data, or a dtype that safetensors
            has no name for; or the views claim far more than the file holds.
    """
    found = Described()
    first: dict[object, str] = {}
    spans: list[tuple[int, int, str]] = []
    for name, loaded in tensors.items():
        tensor = plain(loaded)
        if problem := _problem(tensor):
            what, hint = problem
            raise CheckpointError(
                f"tensor {shown(name)} {what}", where=handle.where, hint=hint
            )
        dtype = BY_NAME[_dtype_name(tensor)]
        info = TensorInfo(name, dtype, tuple(tensor.shape))
        alias_of = first.setdefault(_memory(tensor), name) if info.numel else name
        if alias_of == name:
            found.infos.append(info)
            spans.append((*_span(tensor), name))
        else:
            found.infos.append(TensorInfo(name, dtype, info.shape, alias_of))
    _check_claim(found.infos, handle)
    found.notes += _overlaps(spans)
    return found


def plain(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor over the same memory, without the attributes that a file may give one:
    they can have the names of its methods."""
    import torch

    return torch.Tensor.detach(tensor)


def _problem(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Why a tensor cannot be taken, and what to do about it."""
    import torch

    if tensor.is_quantized:
        return f"is quantised ({_dtype_name(tensor)})", "Save tensor.dequantize()"
    if tensor.is_nested:
        return "is nested, not dense", "Save its parts as tensors of their own"
    if tensor.layout != torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        return f"is {layout}, not dense", "Save tensor.to_dense()"
    if tensor.device.type == "meta":
        return "has no data (device meta)", "Save it from a model that was loaded"
    if _dtype_name(tensor) not in BY_NAME:
        known = f"Cast it to one of: {', '.join(BY_NAME)}"
        return f"has the dtype {_dtype_name(tensor)}, which no file can hold", known
    if tensor.dim() > MAX_RANK:
        return f"has {tensor.dim()} dimensions; the limit is {MAX_RANK}", "Reshape it"
    return None


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _memory(tensor: torch.Tensor) -> object:
    """Equal for tensors that are the same elements of the same memory."""
    # A dimension of one element can have any stride.
    strides = [
        stride if size > 1 else 0
        for size, stride in zip(tensor.shape, tensor.stride(), strict=True)
    ]
    bits = (tensor.dtype, tensor.is_conj(), tensor.is_neg())
    return (tensor.data_ptr(), tuple(tensor.shape), tuple(strides), bits)


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    """The addresses between which a tensor's elements lie."""
    begin = int(tensor.data_ptr())
    if not tensor.numel():
        return begin, begin
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = sum((size - 1) * stride for size, stride in steps)
    return begin, begin + (last + 1) * tensor.element_size()


def _overlaps(spans: list[tuple[int, int, str]]) -> list[str]:
    """A note, if tensors share memory without being the same."""
    reached, owner = 0, ""
    pairs: list[tuple[str, str]] = []
    for begin, end, name in sorted(spans):
        if begin < min(end, reached):
            pairs.append((name, owner))
        if end > reached:
            reached, owner = end, name
    if not pairs:
        return []
    name, other = pairs[0]
    more = f", and {len(pairs) - 1} more do so" if len(pairs) > 1 else ""
    return [
        f"{shown(name)} lies in the memory of {shown(other)} without being equal to"
        f" it{more}: each is taken as a tensor of its own"
    ]


def _check_claim(infos: list[TensorInfo], handle: Handle) -> None:
    claimed = sum(info.nbytes for info in infos if info.alias_of is None)
    if claimed > max(FREE_CLAIM, MAX_CLAIM * handle.nbytes):
        raise CheckpointError(
            f"its tensors claim {claimed} bytes of a file of {handle.nbytes}",
            where=handle.where,
            hint="Save expanded tensors as they are before .expand()",
        )
