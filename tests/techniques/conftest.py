"""A technique's file and the file of its tests go together."""

from __future__ import annotations

from pathlib import Path

from wpack import techniques

#: Tests of all techniques, and of what they share.
SHARED = {"arrays", "files", "laws"}

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if path.stem.removeprefix("test_") not in SHARED | set(techniques.names())
]
