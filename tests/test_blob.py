"""The bytes of coded pools, sound and a stranger's."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.blobs import chain_of, needs, reader, record, streams
from wpack import blob
from wpack.blob import CHUNK, Blob
from wpack.codecs import Alphabet, Entropy, Stream
from wpack.codecs._packing import symbol_dtype
from wpack.errors import FormatError

#: None where it is gone, and with it its tests.
FAST = chain_of("zstd: 1").entropy
coders = pytest.mark.parametrize(
    "coder",
    [
        pytest.param(None, id="plain"),
        pytest.param(FAST, id="zstd", marks=needs("zstd")),
    ],
)
LEVELS = st.sampled_from(
    [2, 3, 4, 7, 15, 16, 17, 31, 32, 127, 255, 256, 1 << 16, 1 << 32]
)


def stream_of(levels: int, numel: int, share: float = 1.0, seed: int = 0) -> Stream:
    """Random symbols, of the lowest share of the levels only."""
    random = np.random.default_rng(seed)
    most = max(1, int(levels * share))
    return Stream(random.integers(0, most, numel).astype(symbol_dtype(levels)), levels)


def alphabets_of(made: Sequence[Stream]) -> list[Alphabet]:
    """What a chain knows of streams."""
    return [Alphabet(len(symbols), levels) for symbols, levels in made]


def refusal(data: bytes, *alphabets: Alphabet, entropy: Entropy | None = None) -> str:
    """Why a blob is refused."""
    with pytest.raises(FormatError) as caught:
        streams(data, alphabets, entropy)
    return str(caught.value)


@coders
@given(
    st.lists(
        st.tuples(LEVELS, st.integers(0, 300), st.sampled_from([0.0, 0.2, 1.0])),
        max_size=4,
    )
)
@example([(3, CHUNK - 1, 1.0), (15, CHUNK, 1.0), (2, CHUNK + 1, 0.0)])
@example([(7, 2 * CHUNK + 3, 0.2), (1 << 16, CHUNK + 5, 0.2)])
def test_streams_come_back(
    coder: Entropy | None, wanted: list[tuple[int, int, float]]
) -> None:
    """Any streams of any lengths, in no more bytes than foretold, and always the same
    bytes."""
    made = [stream_of(levels, numel, share) for levels, numel, share in wanted]
    written = blob.write(made, coder)
    data = written.data.tobytes()

    assert data == blob.write(made, coder).data.tobytes()
    assert blob.bound(alphabets_of(made)) == written.packed_nbytes
    if coder is None:
        assert written.packed_nbytes == len(data)
    assert len(data) <= written.packed_nbytes
    for stream, found in zip(
        made, streams(data, alphabets_of(made), coder), strict=True
    ):
        assert stream.symbols.dtype == found.dtype
        assert np.array_equal(stream.symbols, found)


def test_bytes() -> None:
    """A directory, then what it lists."""
    made = [
        Stream(np.array([1, 2, 3], "u1"), 15),
        Stream(np.array([0x0102], "<u2"), 1 << 16),
    ]

    assert (
        bytes.fromhex(
            "0200000000000000 00 00000000000000"  # 2 bytes, packed
            "0200000000000000 00 00000000000000"
            "21 03  02 01"
        )
        == blob.write(made, None).data.tobytes()
    )


@needs("zstd")
def test_each_stream_has_the_smallest_form() -> None:
    """Noise is stored as it is, symbols by the half byte, floats by planes."""
    random = np.random.default_rng(0)
    codes = (7 + np.rint(random.standard_normal(1 << 14) * 2)).clip(0, 14)
    floats = random.standard_normal(1 << 14).astype("<f4")
    made = [
        stream_of(256, 1 << 14),
        Stream(codes.astype("u1"), 15),
        Stream(floats.view("<u4"), 1 << 32),
    ]
    data = blob.write(made, chain_of("zstd").entropy).data.tobytes()

    assert [0, 1, 2] == [data[16 * index + 8] for index in range(3)]


def test_entropy_of_known_symbols() -> None:
    """Two symbols as often as each other take a bit each, whatever their order; of two
    bytes, the bytes are counted apart."""
    even = Stream(np.array([0, 5] * 800, "u1"), 15)
    wide = Stream(np.array([0x0100, 0x0000] * 800, "<u2"), 1 << 16)
    constant = Stream(np.full(999, 3, "u1"), 4)
    empty = Stream(np.empty(0, "u1"), 4)

    found = [
        blob.write([s], None).entropy_nbytes for s in (even, wide, constant, empty)
    ]

    assert [200.0, 200.0, 0.0, 0.0] == found


def test_entropy_is_that_of_all_chunks() -> None:
    """Two halves that are constant, each in chunks of its own, are not constant."""
    symbols = np.repeat(np.array([0, 1], "u1"), CHUNK)

    assert CHUNK / 4 == blob.write([Stream(symbols, 2)], None).entropy_nbytes


#: Why it is refused → bytes of a blob of five symbols of 15 levels, and of 3 of 2^16.
DIRECTORIES = {
    "pool 'main': its 31 bytes hold no 2 streams": bytes(31),
    "pool 'main', stream 0: its form is 1, which is not known": (
        record(3, 1) + record(6) + bytes(9)
    ),
    "pool 'main', stream 1: its form is 255, which is not known": (
        record(3) + record(6, 255) + bytes(9)
    ),
    "pool 'main', stream 1: its record does not end in zeros": (
        record(3) + record(6, nothing=b"\0\0\0\0\0\0\1") + bytes(9)
    ),
    "pool 'main', stream 0: its 5 symbols take 2 bytes, not 3": (
        record(2) + record(6) + bytes(8)
    ),
    "pool 'main', stream 1: its 3 symbols take 18446744073709551615 bytes, not 6": (
        record(3) + record((1 << 64) - 1) + bytes(9)
    ),
    "pool 'main': its streams end at byte 41 of 40": record(3) + record(6) + bytes(8),
    "pool 'main': its streams end at byte 41 of 42": record(3) + record(6) + bytes(10),
    "pool 'main', stream 0, chunk 0: there is more than zeros after its last symbol": (
        record(3) + record(6) + b"\0\0\x10" + bytes(6)
    ),
    "pool 'main', stream 0, chunk 0: a symbol is 15, of 15 levels": (
        record(3) + record(6) + b"\0\xf0\0" + bytes(6)
    ),
}


@pytest.mark.parametrize("reason", DIRECTORIES)
def test_hostile_directories(reason: str) -> None:
    """What no such streams have is refused, and where it stands is said."""
    found = refusal(DIRECTORIES[reason], Alphabet(5, 15), Alphabet(3, 1 << 16))

    assert reason == found


def coded(*frames: bytes, form: int = 1, sizes: Sequence[int] | None = None) -> bytes:
    """A blob of one stream of frames."""
    sizes = [len(frame) for frame in frames] if sizes is None else sizes
    payload = struct.pack(f"<{len(sizes)}I", *sizes) + b"".join(frames)
    return record(len(payload), form) + payload


def frame(symbols: bytes) -> bytes:
    """A frame of raw bytes, where there is who makes one."""
    return FAST.compress(np.frombuffer(symbols, "u1")) if FAST else b""


ZEROS = frame(bytes(500))
#: Why it is refused → a blob of 1000 symbols of 15 levels, coded.
FRAMES = {
    "pool 'main', stream 0: its form is 3, which is not known": coded(ZEROS, form=3),
    "pool 'main', stream 0: its 1000 symbols take 501 bytes, more than 500": (
        record(501, 1) + bytes(501)
    ),
    "pool 'main', stream 0: the sizes of its 1 frames do not add up to its own": (
        record(3, 1) + bytes(3)
    ),
    "pool 'main', stream 0, chunk 0: its frame declares 1000 bytes, not 500": coded(
        frame(bytes(1000))
    ),
    "pool 'main', stream 0, chunk 0: its frame declares 500 bytes, not 1000": coded(
        ZEROS, form=2
    ),
    "pool 'main', stream 0, chunk 0: a symbol is 15, of 15 levels": coded(
        frame(b"\x0f" + bytes(499))
    ),
    "pool 'main', stream 0, chunk 0: a symbol is 16, of 15 levels": coded(
        frame(bytes(999) + b"\x10"), form=2
    ),
    "pool 'main', stream 0, chunk 0: its frame does not begin as one of Zstandard": (
        coded(b"")
    ),
}


@needs("zstd")
@pytest.mark.parametrize("reason", FRAMES)
def test_hostile_frames(reason: str) -> None:
    """A frame that is not its chunk's is refused, and where it stands is said."""
    assert reason == refusal(FRAMES[reason], Alphabet(1000, 15), entropy=FAST)


@needs("zstd")
@pytest.mark.parametrize("size", [0, len(ZEROS) - 1, len(ZEROS) + 1, (1 << 32) - 1])
def test_sizes_of_frames_that_lie(size: int) -> None:
    """They add up to what the directory says."""
    assert (
        "pool 'main', stream 0: the sizes of its 1 frames do not add up to its own"
        == refusal(coded(ZEROS, sizes=[size]), Alphabet(1000, 15), entropy=FAST)
    )


@needs("zstd")
def test_planes() -> None:
    """Each byte of a chunk's symbols has a frame of its own, the lowest first."""
    low, high = bytes(range(200)), bytes(200)
    data = coded(frame(low), frame(b"\1" + high[1:]), form=2)
    (found,) = streams(data, [Alphabet(200, 1 << 16)], FAST)

    assert [256, *range(1, 200)] == found.tolist()
    assert (
        "pool 'main', stream 0: the sizes of its 2 frames do not add up to its own"
        == refusal(coded(frame(low), form=2), Alphabet(200, 1 << 16), entropy=FAST)
    )


@needs("zstd")
def test_a_trailing_frame() -> None:
    """One frame a chunk, and nothing after it."""
    data = coded(ZEROS + ZEROS)

    assert (
        "pool 'main', stream 0, chunk 0: its frame is damaged: compressed input"
        f" contains {len(ZEROS)} bytes of unused data, which is disallowed"
        == refusal(data, Alphabet(1000, 15), entropy=FAST)
    )


@needs("zstd")
def test_the_second_chunk_is_named() -> None:
    """So that damage can be found."""
    whole, rest = frame(bytes(CHUNK // 8)), frame(bytes(2))
    alphabet = Alphabet(CHUNK + 9, 2)

    assert not streams(coded(whole, rest), [alphabet], FAST)[0].any()
    assert (
        "pool 'main', stream 0, chunk 1: there is more than zeros after its last symbol"
        == refusal(coded(whole, frame(b"\0\x02")), alphabet, entropy=FAST)
    )


@needs("zstd")
def test_a_frame_is_hardly_larger_than_its_chunk() -> None:
    """Reading it must take no more memory than a chunk; the other chunk could have
    lent it the room."""
    chunk, small = frame(bytes(CHUNK)), frame(bytes(CHUNK))
    padding = bytes(CHUNK + CHUNK // 128 + 65 - len(chunk))
    data = coded(chunk + padding, small)

    assert (
        "pool 'main', stream 0, chunk 0: its frame takes 1056833 bytes for 1048576"
        == refusal(data, Alphabet(2 * CHUNK, 256), entropy=FAST)
    )


@needs("zstd")
def test_claims_cost_nothing() -> None:
    """A directory that goes with 2^60 symbols makes no table of their chunks."""
    alphabet = Alphabet(1 << 60, 256)
    data = coded(ZEROS)
    found = Blob(reader(data), len(data), [alphabet], FAST, "pool 'main'")

    with pytest.raises(FormatError, match=r"1099511627776 frames do not add up"):
        found.whole(0)


@coders
def test_every_changed_byte_is_decoded_or_refused(coder: Entropy | None) -> None:
    """Nothing but a FormatError comes of a byte that is not what it was, or of bytes
    that are missing, and no symbol is out of its alphabet."""
    made = [
        stream_of(2, 70, 1.0, 1),
        stream_of(3, 33, 1.0, 2),
        stream_of(15, 41, 0.3, 3),
        stream_of(31, 9, 1.0, 4),
        stream_of(1 << 16, 40, 0.0, 5),
    ]
    alphabets = alphabets_of(made)
    data = blob.write(made, coder).data.tobytes()
    changed = [
        data[:at] + bytes([byte]) + data[at + 1 :]
        for at in range(len(data))
        for byte in {data[at] ^ 1 << bit for bit in range(8)} | {0, 255}
    ]
    refused = 0
    for candidate in (*changed, *(data[:end] for end in range(len(data)))):
        try:
            found = streams(candidate, alphabets, coder)
        except FormatError:
            refused += 1
            continue
        for symbols, (numel, levels) in zip(found, alphabets, strict=True):
            assert numel == len(symbols)
            assert int(symbols.max()) < levels

    assert refused > len(data)
