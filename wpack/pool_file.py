"""An open ``.wpool`` whose tensors are torch views of its pools, as they are stored or
as they were decoded, once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate
from operator import mul

import torch

from . import ring
from .container import Container
from .errors import UsageError
from .plan import Plan, TensorPlan
from .residence import Residence, residence
from .ring import Buffer
from .stats import Loaded
from .tensors import DType

#: The device whose memory the maps are.
_HOST = "cpu"


class PoolFile:
    """An open ``.wpool``; made by :func:`wpack.open`, used as a context manager.

    Tensors stay valid after :meth:`close`, and each is made once: asking again gives
    the same object, and so does asking for its alias.  Not for several threads at once.

    Attributes:
        residence: Which tensors are views, and why the others are not.
    """

    residence: Residence

    def __init__(
        self, file: Container, memory: ring.Memory, device: str | torch.device
    ) -> None:
        self._file = file
        self._memory = memory
        self._device = torch.device(device)
        self._moved_nbytes = 0
        self._pools: dict[int, torch.Tensor] = {}
        self._tensors: dict[str, torch.Tensor] = {}
        self._taken: list[str] = []  # of _tensors, once that has been let go
        # No device has rings: there a pool lies as backend copy lays it out.
        self._on_host = self._device.type == _HOST
        self.residence = (
            memory.residence if self._on_host else residence(file.plan, backend="copy")
        )

    @property
    def path(self) -> str:
        """The file's name."""
        return self._file.path

    @property
    def plan(self) -> Plan:
        """Who reads what from where."""
        return self._file.plan

    @property
    def metadata(self) -> dict[str, str]:
        """The header's ``__metadata__``."""
        return self._file.metadata

    @property
    def backend(self) -> str:
        """The backend in use: ``mmap``, ``memfd`` or ``copy``."""
        return self._memory.residence.backend

    @property
    def copied_nbytes(self) -> int:
        """Bytes made so far beside the stored and decoded ones; once every tensor has
        been taken, ``residence.copied_nbytes``."""
        return self._memory.copied_nbytes if self._on_host else self._moved_nbytes

    @property
    def decoded_nbytes(self) -> int:
        """Bytes decoded so far; once every tensor has been taken,
        ``residence.decoded_nbytes``."""
        return self._memory.decoded_nbytes

    @property
    def loaded(self) -> Loaded:
        """What the tensors taken so far have cost; also after :meth:`close`."""
        taken = {*self._taken, *self._tensors}
        copied = taken & self.residence.copied.keys()
        wrapped = copied & self.residence.views.keys()
        return Loaded(
            *self._size(taken - copied),
            *self._size(wrapped),
            *self._size(copied - wrapped),
            computed_seconds=self._memory.computing_seconds,
            copied_bytes=self.copied_nbytes,
            decoded_bytes=self._memory.decoded_nbytes,
            decoded_seconds=self._memory.decoding_seconds,
        )

    def keys(self) -> list[str]:
        """The tensors' names, in checkpoint order."""
        return list(self.plan.by_name)

    def get_tensor(self, name: str) -> torch.Tensor:
        """A tensor, of the shape and dtype it had in the checkpoint.

        Raises:
            UsageError: There is no such tensor.
            ValueError: The file has been closed.
        """
        return self._take(self._planned(name))

    def get_tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, in checkpoint order."""
        self._file.fileno()
        return {tensor.info.name: self._take(tensor) for tensor in self.plan.tensors}

    def close(self) -> None:
        """Let the file go; what has been taken from it stays."""
        self._file.close()
        self._memory.close()
        self._pools.clear()
        self._taken += self._tensors
        self._tensors.clear()

    def __enter__(self) -> PoolFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[str]:
        return iter(self.plan.by_name)

    def __len__(self) -> int:
        return len(self.plan.tensors)

    def __contains__(self, name: object) -> bool:
        return name in self.plan.by_name

    def _size(self, names: set[str]) -> tuple[int, int]:
        """How many tensors, and their bytes."""
        return len(names), sum(self.plan.by_name[name].info.nbytes for name in names)

    def _planned(self, name: str) -> TensorPlan:
        self._file.fileno()  # refuses a file that has been closed
        found = self.plan.by_name.get(name)
        if found is None:
            near = difflib.get_close_matches(name, self.plan.by_name, 1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"there is no tensor {name!r}", where=self.path, hint=hint)
        return found

    def _take(self, tensor: TensorPlan) -> torch.Tensor:
        name = tensor.info.alias_of or tensor.info.name
        found = self._tensors.get(name)
        if found is None:
            tensor = self.plan.by_name[name] if tensor.info.alias_of else tensor
            found = self._tensors[name] = self._make(tensor)
        return found

    def _make(self, tensor: TensorPlan) -> torch.Tensor:
        info = tensor.info
        place = self.residence.views.get(info.name)
        if place is None:
            flat = self._own(tensor)
            return flat if len(info.shape) == 1 else flat.view(info.shape)
        index, first = place
        pool = self._pools.get(index)
        if pool is None:
            pool = self._pools[index] = self._pool(index)
        # One call, where a slice and a reshape of it would take twice the time.
        return pool.as_strided(info.shape, _strides(info.shape), first)

    def _own(self, tensor: TensorPlan) -> torch.Tensor:
        """A tensor that is no view of a pool, 1-D."""
        dtype, numel = tensor.info.dtype, tensor.info.numel
        if numel == 0:
            return torch.empty(0, dtype=_torch_dtype(dtype), device=self._device)
        buffer, at_byte = self._memory.tensor(tensor)
        found = _tensor(buffer, dtype, numel, at_byte)
        if self._on_host:
            return found
        if tensor.pieces:
            self._moved_nbytes += tensor.info.nbytes
        return found.to(self._device)

    def _pool(self, index: int) -> torch.Tensor:
        """A pool and what wrapping reads need beyond its end, ``(extent,)``."""
        planned, held = self.plan.pools[index], self.residence.pools[index]
        buffer, at_byte = self._memory.pool(index)
        if self._on_host:
            return _tensor(buffer, planned.dtype, held.extent, at_byte)
        stored = _tensor(buffer, planned.dtype, planned.backing, at_byte)
        pool = torch.empty(held.extent, dtype=stored.dtype, device=self._device)
        pool[: planned.backing].copy_(stored)
        ring.append_head(pool, planned.backing)
        self._moved_nbytes += held.copied_nbytes
        return pool


def _tensor(buffer: Buffer, dtype: DType, numel: int, at_byte: int) -> torch.Tensor:
    """A 1-D tensor over a buffer, which lives as long as the tensor does."""
    dtype_ = _torch_dtype(dtype)
    return torch.frombuffer(buffer, dtype=dtype_, count=numel, offset=at_byte)


@lru_cache(maxsize=1024)
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one index to the next along each dimension, in row-major order."""
    steps = accumulate(reversed(shape[1:]), mul, initial=1)
    return tuple(steps)[::-1][: len(shape)]


def _torch_dtype(dtype: DType) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype.name)
    return found
