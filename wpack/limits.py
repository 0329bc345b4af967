"""How much a file may ask for before it is believed."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .header import MAX_HEADER


@dataclass(frozen=True)
class Limits:
    """Limits on reading files of unknown origin.

    Attributes:
        max_header: Largest safetensors header accepted, in bytes.
        max_working_bytes: Most bytes that a ``.wpool``'s working weights may come to;
            None: four times the machine's memory.
    """

    max_header: int = MAX_HEADER
    max_working_bytes: int | None = None


def physical_memory() -> int:
    """Bytes of memory in the machine; 16 GiB where it cannot be asked (Windows)."""
    if not hasattr(os, "sysconf"):
        return 16 << 30
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
