"""Where tensors are computed, and in what precision.

accelerate picks the device, and gives each of several processes its own.  Its
``Accelerator`` stays outside: it fixes one precision and one device for the life of the
process, and a library may be asked for two.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .errors import UsageError
from .processes import ALONE, Processes, started

#: Names in the spec and on the command line; ``auto`` is bfloat16 on a GPU that has it.
PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Placement:
    """A device and the precision that matrix products have on it.

    Attributes:
        precision: ``float32``, ``bfloat16`` or ``float16``: parameters stay as they
            are, what is computed from them is cast (autocast).
        channels_last: Whether tensors of rank 4 get torch's channels-last format.
    """

    device: torch.device
    precision: str = "float32"
    channels_last: bool = False

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which models are called."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, getattr(torch, self.precision))

    def move(self, batch: Any) -> Any:
        """A batch with every tensor in it on the device: tensors, tuples, lists, dicts
        and whatever has a ``to`` method of its own."""
        if isinstance(batch, Mapping) and not hasattr(batch, "to"):
            return {key: self.move(value) for key, value in batch.items()}
        if isinstance(batch, tuple | list):
            moved = [self.move(value) for value in batch]
            named = hasattr(batch, "_fields")  # a namedtuple takes them one by one
            return type(batch)(*moved) if named else type(batch)(moved)
        if not hasattr(batch, "to"):
            return batch
        moved = batch.to(self.device, non_blocking=True)
        if self.channels_last and isinstance(moved, Tensor) and moved.ndim == 4:
            return moved.contiguous(memory_format=torch.channels_last)
        return moved


def place(
    device: str = "auto", precision: str = "auto", processes: Processes = ALONE
) -> Placement:
    """Choose the device and the precision.

    Args:
        device: ``auto``, or what torch calls it: ``cpu``, ``cuda:1``, ``mps``.
        precision: One of :data:`PRECISIONS`.
        processes: Those that share the work; each has its device by now.

    Raises:
        UsageError: There is no such device here, or several processes were started for
            what one does.
    """
    if started() != processes.count:
        raise UsageError(
            f"{started()} processes were started, and this is work for one",
            where="torchrun",
            hint="Start it without torchrun",
        )
    chosen = processes.device
    if chosen is None:
        chosen = _automatic() if device == "auto" else _named(device)
    if precision == "auto":
        fast = chosen.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bfloat16" if fast else "float32"
    return Placement(chosen, precision)


def _automatic() -> torch.device:
    from accelerate import PartialState

    device: torch.device = PartialState().device
    return device


def _named(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(
            f"cannot be used: {reason}", where=f"device {name!r}", hint="Try auto"
        ) from None
    return device
