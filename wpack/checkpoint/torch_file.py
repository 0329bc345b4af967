"""A file of ``torch.save`` as a checkpoint: loaded by ``weights_only``, never run."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CheckpointError
from ..inputs import AGAIN
from ..names import printable, shown
from . import torch_archive, torch_legacy, wrappers
from .handle import Handle
from .opened import StoredFile
from .torch_tensors import describe, plain
from .wrappers import RECIPE as RECIPE

if TYPE_CHECKING:
    import torch

#: Bytes read from a map before it is made anew.
REMAP_BYTES = 64 << 20

_BLOCKED = re.compile(r"GLOBAL (\S+)")


class TorchFile(StoredFile):
    """The tensors of one state dict, in its order.

    A zip file's storages are mapped, and read as they are asked for.  A page that was
    read counts as this process's memory until its map goes, so the map is let go, and
    made again, every :data:`REMAP_BYTES`.  A file that shrinks while it is mapped ends
    the process with SIGBUS.  A file in torch's format before 1.6 is loaded whole.

    Args:
        key: Which of several state dicts, as a dotted path.
        zipped: Whether it is a zip file.

    Raises:
        UsageError: It holds several state dicts, or none under ``key``.
        CheckpointError: It needs more than tensors to be loaded, or is damaged, or
            holds a tensor that is not dense or of a dtype without a safetensors name.
    """

    format = "torch"

    def __init__(self, handle: Handle, key: str | None, *, zipped: bool) -> None:
        self.handle = handle
        self._zipped = zipped
        if zipped:
            torch_archive.check_directory(handle)
        else:
            torch_legacy.check_pickles(handle)
        found = wrappers.find(self._load(), key, handle.where, _is_tensor)
        self._keys = found.keys
        self._tensors: Mapping[str, torch.Tensor] | None = found.tensors
        self._row: tuple[str, torch.Tensor] | None = None
        self._mapped_bytes = 0
        self._sound = not zipped
        described = describe(found.tensors, handle)
        self.infos = described.infos
        self.notes = [*found.notes, *described.notes]
        self._dtypes = {info.name: info.dtype for info in self.infos}

    def read(self, name: str, first: int, numel: int) -> np.ndarray:
        """Copied out of the map.  A tensor whose elements do not lie in order is put
        in order once, and kept so until another one is read."""
        import torch

        if not self._sound:
            torch_archive.check_sums(self.handle)
            self._sound = True
        dtype = self._dtypes[name]
        bits = self._in_a_row(name)[first : first + numel].view(torch.uint8)
        raw: np.ndarray = bits.numpy().view(dtype.raw).copy()
        del bits
        if dtype.code == "BOOL" and raw.size and raw.view("u1").max() > 1:
            raise CheckpointError(
                f"tensor {shown(name)} has a bool that is neither 0 nor 1",
                where=self.handle.where,
                hint=AGAIN,
            )
        self._count(raw.nbytes)
        return raw

    def release(self) -> None:
        """Also lets go of the tensors."""
        self._tensors = self._row = None
        self._mapped_bytes = 0
        super().release()

    def _in_a_row(self, name: str) -> torch.Tensor:
        """A tensor's elements in row-major order, 1-D: a view where they lie so."""
        if self._row is not None and self._row[0] == name:
            return self._row[1]
        self._row = None
        tensor = plain(self._loaded()[name])
        # A single element may have any stride, also where it counts as contiguous.
        dense = tensor.resolve_conj().resolve_neg().contiguous()
        row = dense.as_strided((dense.numel(),), (1,))
        if row.data_ptr() != tensor.data_ptr():
            self._row = (name, row)
            self._count(row.nbytes)
        return row

    def _loaded(self) -> Mapping[str, torch.Tensor]:
        if self._tensors is None:
            tree = self._load()
            for key in self._keys:
                tree = tree[key]
            self._tensors = tree
        return self._tensors

    def _count(self, nbytes: int) -> None:
        """Note that so many bytes of the map were read; let it go when it is time."""
        self._mapped_bytes += nbytes
        if self._zipped and self._mapped_bytes > REMAP_BYTES:
            self._tensors = None
            self._mapped_bytes = 0

    def _load(self) -> Any:
        import torch

        path = os.fspath(self.handle.path)
        try:
            with warnings.catch_warnings():
                # torch's own, about formats and layouts that are refused here anyway.
                warnings.simplefilter("ignore")
                if self._zipped:
                    tree = torch.load(path, "cpu", weights_only=True, mmap=True)
                else:
                    with open(os.dup(self.handle.fd), "rb") as file:
                        file.seek(0)
                        tree = torch.load(file, "cpu", weights_only=True)
        # Whatever a hostile or damaged file makes torch raise: EOFError, KeyError,
        # RuntimeError, UnpicklingError, UnicodeDecodeError, …
        except Exception as error:
            raise self._refusal(error) from None
        # torch opened the path itself: make sure that it got the file looked at here.
        self.handle.check_unchanged()
        return tree

    def _refusal(self, error: Exception) -> CheckpointError:
        text = str(error)
        if blocked := _BLOCKED.search(text):
            name = printable(blocked[1][:120])
            what = f"needs the Python object {name}, which is not run"
            return CheckpointError(what, where=self.handle.where, hint=RECIPE)
        # The last line that torch did not add itself.
        lines = [line for line in text.splitlines() if line and "Check the" not in line]
        kind = type(error).__name__
        reason = f"{kind}: {printable(lines[-1][:160])}" if lines else kind
        what = f"cannot be loaded by torch: {reason}"
        return CheckpointError(what, where=self.handle.where, hint=AGAIN)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
