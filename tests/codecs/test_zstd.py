"""Zstandard frames as chunks, sound ones and a stranger's."""

from __future__ import annotations

import re
import struct
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from wpack.codecs.zstd import Zstd

MAGIC = bytes.fromhex("28b52ffd")


def frame(
    declared: int, *blocks: bytes, descriptor: int = 0, more: bytes = b""
) -> bytes:
    """A frame made by hand: its declared size in four bytes, raw blocks.

    Args:
        descriptor: Bits of the frame header's descriptor beside that size.
        more: What stands between the descriptor and the size.
    """
    made = (
        MAGIC + bytes([0x80 | 0x20 | descriptor]) + more + struct.pack("<I", declared)
    )
    for index, block in enumerate(blocks):
        header = len(block) << 3 | (index == len(blocks) - 1)
        made += header.to_bytes(3, "little") + block
    return made


def bytes_of(data: bytes) -> np.ndarray:
    """As the codec takes them."""
    return np.frombuffer(data, "u1")


SIZELESS = zstandard.ZstdCompressor(write_content_size=False).compress(b"abc" * 9)
#: Why it is refused → a frame that should hold 27 bytes.
HOSTILE = {
    "its frame does not declare its size": SIZELESS,
    "its frame declares 26 bytes, not 27": frame(26, bytes(26)),
    "its frame declares 28 bytes, not 27": frame(28, bytes(27)),
    "its frame declares 4294967295 bytes, not 27": frame((1 << 32) - 1, bytes(27)),
    "its frame needs the dictionary 7": frame(27, bytes(27), descriptor=1, more=b"\7"),
    "its frame does not begin as one of Zstandard": (
        struct.pack("<II", 0x184D2A50, 27) + bytes(27)  # one that decoders skip
    ),
    "its frame is damaged: ": frame(27, bytes(28)),
}
LIES = {
    "fewer bytes than declared": frame(27, bytes(26)),
    "more bytes, in a second block": frame(27, bytes(27), bytes(1)),
    "a second frame": frame(27, bytes(27)) + frame(27, bytes(27)),
    "an empty second frame": frame(27, bytes(27)) + frame(0, b""),
    "one byte more": frame(27, bytes(27)) + b"\0",
    "a frame that is skipped": frame(27, bytes(27)) + struct.pack("<II", 0x184D2A50, 0),
    "a wrong checksum": frame(27, bytes(27), descriptor=4) + b"\0\0\0\0",
    "a reserved kind of block": (frame(27) + b"\xdf\0\0" + bytes(27)),
    "nothing but a header": frame(27),
}


@given(st.binary(min_size=1, max_size=2000), st.sampled_from([1, 5, 13, 16, 22]))
def test_what_is_compressed_comes_back(raw: bytes, level: int) -> None:
    """Whatever the level, and the same frame every time."""
    codec = Zstd(level)
    made = codec.compress(bytes_of(raw))

    assert made == codec.compress(bytes_of(raw))
    assert raw == codec.decompress(bytes_of(made), len(raw)).tobytes()


def test_hand_made_frames() -> None:
    """The frames that the other tests spoil are sound."""
    for data in (bytes(27), b"abc" * 9):
        found = Zstd().decompress(bytes_of(frame(27, data[:5], data[5:])), 27)

        assert data == found.tobytes()


@pytest.mark.parametrize("reason", HOSTILE)
def test_hostile_headers(reason: str) -> None:
    """A header that is not that of such a frame is refused for what is wrong."""
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}"):
        Zstd().decompress(bytes_of(HOSTILE[reason]), 27)


@pytest.mark.parametrize("lie", LIES)
def test_lies(lie: str) -> None:
    """A frame that holds something else than its header says is refused."""
    with pytest.raises(ValueError, match=r"^its frame (is damaged: |holds )"):
        Zstd().decompress(bytes_of(LIES[lie]), 27)


def test_every_beginning_of_a_frame_is_refused() -> None:
    """A frame that was cut off is no frame."""
    whole = Zstd().compress(bytes_of(b"weights and weights and weights"))
    for end in range(len(whole)):
        with pytest.raises(ValueError, match=r"^its frame "):
            Zstd().decompress(bytes_of(whole[:end]), 31)


def test_no_room_for_a_huge_window() -> None:
    """A frame may not ask for more memory than a chunk takes."""
    size = 64 << 20
    asked = MAGIC + bytes([0x80, (26 - 10) << 3]) + struct.pack("<I", size)
    asked += ((1 << 17) << 3 | 2).to_bytes(3, "little") + b"x"
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^its frame declares 67108864 bytes"):
            Zstd().decompress(bytes_of(asked), 27)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1 << 20
    with pytest.raises(ValueError, match=r"too much memory|not decompress full frame"):
        Zstd().decompress(bytes_of(asked), size)


@pytest.mark.parametrize("level", [0, 23, -1])
def test_levels(level: int) -> None:
    """Those of Zstandard, from 1 to 22."""
    message = re.escape(f"level must be from 1 to 22, got {level}")
    with pytest.raises(ValueError, match=f"^{message}$"):
        Zstd(level)


@pytest.mark.parametrize("levels", [1.5, 3.0, 40.0])
@pytest.mark.parametrize("level", [1, 5, 9, 16])
def test_noise_takes_its_entropy(level: int, levels: float) -> None:
    """Normal weights' codes come within 3 % of their order-0 entropy at any level:
    matches by chance are not worth what it takes to say where.  (Under some 2.5 bits a
    byte a Huffman code cannot be; such symbols are packed, several to a byte.)"""
    raw = 128 + np.rint(np.random.default_rng(0).standard_normal(1 << 18) * levels)
    raw = raw.clip(0, 255).astype("u1")
    shares = np.bincount(raw) / len(raw)
    shares = shares[shares > 0]
    entropy = -(shares * np.log2(shares)).sum() * len(raw) / 8

    assert 0.99 < len(Zstd(level).compress(raw)) / entropy < 1.03


def test_threads_do_not_share_a_decoder() -> None:
    """Frames decoded at the same time do not disturb each other."""
    random = np.random.default_rng(0)
    raws = [random.integers(0, 9, 1 << 16).astype("u1") for _ in range(16)]
    frames = [bytes_of(Zstd(1).compress(raw)) for raw in raws]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda f: Zstd().decompress(f, 1 << 16), frames * 4))

    assert all(map(np.array_equal, raws * 4, found))
