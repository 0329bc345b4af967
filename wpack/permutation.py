"""Hashes and permutations by formula, the same on every machine for ever.

A file depends on them, so they are defined in ``docs/format.md`` with test vectors and
no library's random stream decides a layout.  ``splitmix64`` is Steele, Lea and Flood's
generator ("Fast splittable pseudorandom number generators", OOPSLA 2014).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def splitmix64(x: int) -> int:
    """The first output of the splitmix64 generator whose state is ``x``."""
    z = (x + GAMMA) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def stream(seed: int, begin: int, end: int) -> np.ndarray:
    """Outputs ``begin … end - 1`` of the generator with state ``seed``, uint64."""
    index = np.arange(begin + 1, end + 1, dtype=np.uint64)
    z = np.uint64(seed) + index * np.uint64(GAMMA)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed


def seed_of(seed: int, label: str) -> int:
    """The 64-bit seed of a tensor (or ``tensor#part``): the first eight bytes, little
    endian, of SHA-256 of ``"<seed>:<label>"`` in UTF-8."""
    digest = hashlib.sha256(f"{seed}:{label}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


@lru_cache(maxsize=4)
def permutation(seed: int, lap: int, factor: int, length: int) -> np.ndarray:
    """π: 0 … length - 1 in the order of their keys.

    The key of r is output r of the generator with state
    ``splitmix64(seed ⊕ splitmix64(lap · 2³² + factor))``.

    Returns:
        ``(length,)`` int64, read-only.
    """
    state = splitmix64(seed ^ splitmix64((lap << 32) + factor))
    # No two outputs of a stream are equal, so that any sort will do; a stable one takes
    # several times as long.
    order = np.argsort(stream(state, 0, length))
    order.flags.writeable = False
    return order
