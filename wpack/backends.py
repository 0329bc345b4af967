"""Ways of loading: which may be used for a file, on this system, and the best first.

What becomes of each tensor then is :mod:`wpack.residence`'s to say.
"""

from __future__ import annotations

import os
import sys

from .errors import UsageError
from .names import shown
from .plan import Plan

#: ``mmap``: the file's own pages, private copy-on-write.  ``memfd``: pools read or
#: decoded once into shared anonymous memory.  ``copy``: ordinary memory, on any system.
BACKENDS = ("mmap", "memfd", "copy")
#: Whether this system can lay pages side by side.
CAN_MAP = sys.platform == "linux" and sys.maxsize > 1 << 32


def coded_pool(plan: Plan) -> str | None:
    """The name of a pool that has to be decoded, or None where there is none."""
    return next((pool.name for pool in plan.pools if pool.chain), None)


def candidates(
    backend: str, *, writable: bool = False, coded: str | None = None
) -> tuple[str, ...]:
    """The backends to try, the best first; ``copy`` is always the last.

    Args:
        writable: Writes must reach every tensor that shares the weight written.
        coded: As :func:`coded_pool`; its file's own pages hold no weights.

    Raises:
        UsageError: There is no such backend, or it may not be used.
    """
    if backend not in ("auto", *BACKENDS):
        raise UsageError(
            f"there is no backend {backend!r} (there are: auto, {', '.join(BACKENDS)})"
        )
    forbidden = _no_mmap()
    if backend == "mmap" and forbidden:
        raise UsageError("backend mmap is forbidden by WPACK_NO_MMAP=1")
    if backend == "mmap" and writable:
        raise UsageError(
            "backend mmap cannot be writable: a write would reach one tensor and not"
            " those that share the weight",
            hint="Use backend memfd or auto",
        )
    if backend == "mmap" and coded is not None:
        raise UsageError(
            f"backend mmap cannot be used: pool {shown(coded)} is stored coded, so that"
            " the file's pages are no weights",
            hint="Use backend memfd or auto, which decode it once",
        )
    if backend == "copy" or not CAN_MAP:
        return ("copy",)
    if backend == "memfd" or forbidden or writable or coded is not None:
        return ("memfd", "copy")
    return BACKENDS


def _no_mmap() -> bool:
    value = os.environ.get("WPACK_NO_MMAP", "")
    if value not in ("", "0", "1"):
        raise UsageError(f"WPACK_NO_MMAP must be 0 or 1, got {value!r:.40}")
    return value == "1"
