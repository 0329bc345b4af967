"""An ``os`` that knows what a power cut would leave of what was written through it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any


class PowerCut:
    """Passes calls on; names last at once, data only once they are flushed.

    That is the order in which journalling filesystems lose the most: a file that was
    renamed before it was flushed is there, with nothing of what was written.

    Attributes:
        pending: Folders in which a name was given that is not flushed, and so may be
            lost as well.
    """

    def __init__(self) -> None:
        self._paths: dict[int, Path] = {}
        self._unflushed: set[Path] = set()
        self.pending: set[Path] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def picture(self, folder: Path, copy: Path) -> None:
        """What is in a folder after a power cut, as a copy."""
        shutil.copytree(folder, copy)
        for path in self._unflushed:
            if path.is_relative_to(folder) and path.exists():
                lost = copy / path.relative_to(folder)
                lost.write_bytes(bytes(path.stat().st_size))

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        """Remember which file it is."""
        fd = os.open(path, flags, mode)
        self._paths[fd] = Path(path).absolute()
        return fd

    def posix_fallocate(self, fd: int, offset: int, length: int) -> None:
        """Space that is claimed has no data yet."""
        self._unflushed.add(self._paths[fd])
        os.posix_fallocate(fd, offset, length)

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        """Written to the cache."""
        self._unflushed.add(self._paths[fd])
        return os.pwrite(fd, data, offset)

    def write(self, fd: int, data: Any) -> int:
        """Written to the cache."""
        self._unflushed.add(self._paths[fd])
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Written to the disk."""
        self._unflushed.discard(self._paths[fd])
        self.pending.discard(self._paths[fd])

    def replace(self, old: Any, new: Any) -> None:
        """The name is another, what is flushed the same."""
        os.replace(old, new)
        self._move(Path(old).absolute(), Path(new).absolute())

    def rename(self, old: Any, new: Any) -> None:
        """As :meth:`replace`, for folders."""
        os.rename(old, new)
        self._move(Path(old).absolute(), Path(new).absolute())

    def _move(self, old: Path, new: Path) -> None:
        self.pending.add(new.parent)
        moved = {path for path in self._unflushed if path.is_relative_to(old)}
        self._unflushed -= moved
        self._unflushed -= {p for p in self._unflushed if p.is_relative_to(new)}
        self._unflushed |= {new / path.relative_to(old) for path in moved}
