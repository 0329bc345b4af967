"""``zstd``: Zstandard frames (RFC 8878), one a chunk, as the entropy stage."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import zstandard

from . import Entropy

#: The first bytes of a frame that holds data; others are skipped by decoders.
_MAGIC = zstandard.FRAME_HEADER
#: Bytes that a frame may ask a decoder to remember: RFC 8878 recommends that many, and
#: no chunk is larger.
_MOST_WINDOW_BYTES = 8 << 20


class _Contexts(threading.local):
    """A decoder for each thread, since making one costs as much as a small frame."""

    def __init__(self) -> None:
        self.decompressor = zstandard.ZstdDecompressor(
            max_window_size=_MOST_WINDOW_BYTES
        )


_CONTEXTS = _Contexts()


@dataclass(frozen=True)
class Zstd(Entropy):
    """Zstandard, tuned to what weights are: noise whose symbols are unequally common.

    What repeats there repeats by chance, and saying where it did takes more bits than
    it saves and more time to undo.  So no match of fewer than seven bytes is looked for
    (less than six is beyond the middle levels), and only among the latest; a higher
    level finds better borders for its tables of frequencies.

    Attributes:
        level: Of compression, from 1 to 22.  From 1, a gigabyte a second, to 16, the
            default, where it is fifty times slower, 0 to 3 % are gained; no level is
            slower to read.
    """

    level: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 22:
            raise ValueError(f"level must be from 1 to 22, got {self.level}")

    def compress(self, raw: np.ndarray) -> bytes:
        """One frame that declares its size; the file has checksums of its own."""
        parameters = zstandard.ZstdCompressionParameters.from_level(
            self.level,
            source_size=len(raw),
            min_match=7,
            hash_log=6,
            chain_log=6,
            search_log=1,
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compress(
            raw.data
        )

    def decompress(self, frame: np.ndarray, nbytes: int) -> np.ndarray:
        """Exactly one frame of exactly that size, made without a dictionary."""
        try:
            _check(frame, nbytes)
            raw = _CONTEXTS.decompressor.decompress(
                frame.data,
                max_output_size=nbytes,
                read_across_frames=False,
                allow_extra_data=False,
            )
        except zstandard.ZstdError as error:
            raise ValueError(f"its frame is damaged: {error}") from None
        if len(raw) != nbytes:
            raise ValueError(f"its frame holds {len(raw)} bytes, not {nbytes}")
        return np.frombuffer(raw, "u1")


def _check(frame: np.ndarray, nbytes: int) -> None:
    """Refuse what a decoder would allocate other than ``nbytes`` for.

    Raises:
        ValueError: The frame's header is not that of such a frame.
        zstandard.ZstdError: It is no frame's.
    """
    if frame[: len(_MAGIC)].tobytes() != _MAGIC:
        raise ValueError("its frame does not begin as one of Zstandard")
    header = zstandard.get_frame_parameters(frame.data)
    if header.content_size == zstandard.CONTENTSIZE_UNKNOWN:
        raise ValueError("its frame does not declare its size")
    if header.content_size != nbytes:
        raise ValueError(
            f"its frame declares {header.content_size} bytes, not {nbytes}"
        )
    if header.dict_id:
        raise ValueError(f"its frame needs the dictionary {header.dict_id}")
