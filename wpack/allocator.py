"""The C library's allocator, told that what a training step frees the next one needs.

glibc gives the end of its heap back to the system as soon as enough of it is free, and
large tensors at once: every step then takes thousands of page faults to get the same
memory again, up to a tenth of the time of a small network on a CPU.
"""

from __future__ import annotations

import ctypes
import os

#: Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
#: Tensors up to this many bytes live on the heap.
_LARGEST = 1 << 30
_NEVER = (1 << 31) - 1
#: Who sets one of these wants something else.
VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")


def keep_memory() -> bool:
    """Keep freed memory for what comes next, for the life of the process, whose use of
    memory then stays at its height.

    A library does not do this by itself: the command line does, and a program of yours
    that trains on a CPU may.

    Returns:
        Whether it does so now: not without glibc, and not where the environment has one
        of :data:`VARIABLES`.
    """
    if any(name in os.environ for name in VARIABLES):
        return False
    try:
        adjust = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return False
    wanted = ((_MMAP_THRESHOLD, _LARGEST), (_TRIM_THRESHOLD, _NEVER))
    return all([adjust(name, value) == 1 for name, value in wanted])
