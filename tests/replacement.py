"""A file that is replaced: what it held, what it is to hold, and the calls of that."""

from __future__ import annotations

import os
from pathlib import Path

from wpack import durable

OLD, NEW = b"the old file", b"a new and longer file"

#: The calls of an undisturbed replacement, in order: W05 asks that the data is flushed
#: before the name changes, and the folder after.
CALLS = [
    "open",
    "posix_fallocate",
    "pwrite",
    "pwrite",
    "fchmod",
    "fsync",
    "dup",
    "close",
    "replace",
    "open",
    "fsync",
    "close",
]
RENAMED = CALLS.index("replace") + 1


def replace(path: Path, system: object = os, force: bool = True) -> None:
    """Write NEW in two pieces, the second first."""
    with durable.replacing(path, len(NEW), force=force, os_=system) as output:
        output.write_at(NEW[5:], 5)
        output.write_at(memoryview(NEW)[:5], 0)


def assert_only(path: Path, content: bytes) -> None:
    """The file has this content, and nothing has been left beside it."""
    assert content == path.read_bytes()
    assert [path] == list(path.parent.iterdir())
