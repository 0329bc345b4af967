"""A codec's file and the file of its tests go together."""

from __future__ import annotations

from pathlib import Path

from wpack import codecs

#: Tests of all codecs, and of what they share.
SHARED = {"arrays", "chains", "grid", "laws", "lookup", "packing", "training"}

collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if path.stem.removeprefix("test_") not in SHARED | set(codecs.names())
]
