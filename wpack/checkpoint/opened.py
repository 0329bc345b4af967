"""An open checkpoint, whatever its files are."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..container import Source
from ..errors import CheckpointError
from ..names import shown
from ..tensors import TensorInfo
from .handle import Handle
from .wrappers import common_prefix

#: Files kept open at a time: a checkpoint can have more shards than a process may
#: have descriptors.
MAX_OPEN = 4


class StoredFile(ABC):
    """One file of a checkpoint.

    Attributes:
        handle: The file itself.
        infos: Its tensors, aliases included, in its order, under its own names.
        notes: What a user should know of how it was read.
    """

    format: ClassVar[str]
    handle: Handle
    infos: list[TensorInfo]
    notes: list[str]

    @abstractmethod
    def read(self, name: str, first: int, numel: int) -> np.ndarray:
        """Elements of a tensor that is no alias, as :meth:`Checkpoint.read`."""

    def release(self) -> None:
        """Give back what only the next :meth:`read` needs; that gets it again."""
        self.handle.close()


class Checkpoint:
    """An open checkpoint; a context manager that closes its files.

    Leaving the ``with`` block in peace also checks that no file changed meanwhile.

    Attributes:
        path: What the user named.
        format: ``safetensors``, ``sharded`` or ``torch``.
        infos: Every tensor, aliases included, in checkpoint order.
        notes: What a user should know of how it was read: what was unwrapped, which
            prefix was stripped, what was left out.
    """

    def __init__(
        self,
        path: Path,
        format: str,
        files: Sequence[StoredFile],
        notes: Sequence[str] = (),
    ) -> None:
        self.path = path
        self.format = format
        self.infos: list[TensorInfo] = []
        self.notes = [*notes, *(note for file in files for note in file.notes)]
        self._files = tuple(files)
        self._recent: list[StoredFile] = []
        self._places: dict[str, tuple[TensorInfo, StoredFile, str]] = {}
        names = [info.name for file in files for info in file.infos]
        prefix = common_prefix(names)
        if prefix:
            self.notes.append(f"stripped the prefix {prefix!r} from every name")
        for file in files:
            for info in file.infos:
                self._publish(info, file, len(prefix))

    def _publish(self, stored: TensorInfo, file: StoredFile, cut: int) -> None:
        alias_of = stored.alias_of and stored.alias_of[cut:]
        info = stored._replace(name=stored.name[cut:], alias_of=alias_of)
        self.infos.append(info)
        self._places[info.name] = (info, file, stored.alias_of or stored.name)

    @property
    def file_bytes(self) -> int:
        """Size of its files together; a sharded one's index is not counted."""
        return sum(file.handle.nbytes for file in self._files)

    def read(self, name: str, first: int = 0, numel: int | None = None) -> np.ndarray:
        """Elements ``first … first + numel - 1`` of a tensor, in row-major order.

        Args:
            numel: Default: all that follow ``first``.

        Returns:
            A new raw array of shape ``(numel,)`` (see :mod:`wpack.tensors`), never a
            view of the file: reading a model block by block costs a block of memory.

        Raises:
            CheckpointError: There is no such tensor, or its file is damaged.
            FormatError: A ``.safetensors`` file is damaged.
            StorageError: The operating system could not read it.
            ValueError: The range is not inside the tensor.
        """
        if name not in self._places:
            raise CheckpointError(f"has no tensor {shown(name)}", where=self.path)
        info, file, stored = self._places[name]
        numel = info.numel - first if numel is None else numel
        if not 0 <= first <= first + numel <= info.numel:
            raise ValueError(
                f"{numel} elements from {first} are not inside {info.numel} of {name}"
            )
        self._keep_few_open(file)
        return file.read(stored, first, numel)

    def _keep_few_open(self, file: StoredFile) -> None:
        if self._recent[-1:] != [file]:
            self._recent = [f for f in self._recent if f is not file] + [file]
            while len(self._recent) > MAX_OPEN:
                self._recent.pop(0).release()

    def source(self) -> Source:
        """What to write down of where weights came from; reads every byte once.

        The digest of a single file is its SHA-256.  That of a sharded checkpoint is
        the SHA-256 of the lines ``<sha256>  <file name>`` of its shards, sorted by
        name: what ``sha256sum *.safetensors | sha256sum`` prints beside them.
        """
        digests = {file.handle.path.name: self._digest(file) for file in self._files}
        if self.format == "sharded":
            text = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
            sha256 = hashlib.sha256(text.encode()).hexdigest()
        else:
            (sha256,) = digests.values()
        name = self.path.name or Path(os.path.abspath(self.path)).name
        return Source(sha256, self.file_bytes, name)

    def _digest(self, file: StoredFile) -> str:
        self._keep_few_open(file)
        return file.handle.sha256()

    def check_unchanged(self) -> None:
        """Look whether every file is still the one that was opened.

        Raises:
            CheckpointError: One was replaced, altered or removed.
        """
        for file in self._files:
            file.handle.check_unchanged()

    def close(self) -> None:
        """Close all files; reading opens them again."""
        for file in self._files:
            file.release()
        self._recent.clear()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.close()
        if kind is None:
            self.check_unchanged()
