"""Chains of codecs: values to bytes and back."""

from __future__ import annotations

import re
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.blobs import chain_of, chains, decoded, needs, record
from tests.strategies import poolable
from wpack.blob import write as write_blob
from wpack.chain import PLAIN, Chain, StageSize
from wpack.codecs import Stream
from wpack.decoding import PIECE
from wpack.errors import FormatError
from wpack.tensors import (
    BFLOAT16,
    BLOCK,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    DType,
    from_float,
    sum_dtype,
    to_float,
)

SELECTORS = ["", "prune: 0.5", "prune: 0.97"]
QUANTISERS = [
    "",
    "int: {bits: 4, block: 16}",
    f"int: {{block: {BLOCK}}}",
    "ternary",
    "kmeans: 3",
]
ENTROPIES = ["", "zstd: 1"]


def one_of(written: list[str]) -> st.SearchStrategy[str]:
    """One that is nothing or whose codec is there."""
    return st.sampled_from([each for each in written if not each or chain_of(each)])


#: Chains of any one, two or three of them.
any_chain = (
    st.tuples(one_of(SELECTORS), one_of(QUANTISERS), one_of(ENTROPIES))
    .map(lambda stages: ", ".join(filter(None, stages)))
    .filter(bool)
    .map(chain_of)
)


def weights(numel: int, dtype: DType, seed: int = 0) -> np.ndarray:
    """Normal weights that the dtype has, as a chain takes them."""
    values = np.random.default_rng(seed).standard_normal(numel) * 0.05
    return to_float(from_float(values.astype(sum_dtype(dtype)), dtype), dtype)


@needs("prune, int, zstd")
def test_order() -> None:
    """A selector, a quantiser, an entropy coder; each once at most."""
    chain = chain_of("prune: 0.5, int: 4, zstd")

    assert chain.codecs == (chain.selector, chain.quantiser, chain.entropy)
    assert ("prune", "int", "zstd") == chain.names
    assert (None, None, None) == (PLAIN.selector, PLAIN.quantiser, PLAIN.entropy)
    assert chain
    assert not PLAIN


@pytest.mark.parametrize(
    ("written", "message"),
    [
        pytest.param(written, message, marks=needs(written))
        for written, message in {
            "int, kmeans": "int and kmeans do the same: a chain has one of them",
            "zstd, zstd: 3": "zstd and zstd do the same: a chain has one of them",
            "zstd, int": "int must come before zstd",
            "int, prune": "prune must come before int",
        }.items()
    ],
)
def test_wrong_orders(written: str, message: str) -> None:
    """Another order makes no sense and is refused."""
    with pytest.raises(ValueError, match=f"Value error, {re.escape(message)} "):
        chain_of(written)


@needs("int, zstd")
def test_json() -> None:
    """Names, and what differs from the defaults."""
    expected = [{"name": "int", "bits": 4}, {"name": "zstd"}]

    assert expected == chain_of("int: 4, zstd").to_json()


def check_laws(chain: Chain, dtype: DType, numel: int, seed: int) -> None:
    """Encode, decode, and again."""
    values = weights(numel, dtype, seed)
    mask = chain.selector.select(values) if chain.selector else None
    encoded = chain.encode(values, dtype)
    data = encoded.data.tobytes()
    raw = decoded(chain, data, numel, dtype)

    if dtype.itemsize > 2 or not chain.quantiser:
        again = chain.encode(to_float(raw, dtype), dtype, mask=mask).data.tobytes()
        assert raw.tobytes() == decoded(chain, again, numel, dtype).tobytes()
    assert data == chain.encode(values, dtype).data.tobytes()
    assert data == chain.encode(values, dtype, mask=mask).data.tobytes()
    assert len(data) <= chain.bound(numel, dtype)
    if not chain.entropy:
        assert len(data) == chain.bound(numel, dtype)
    assert ("", *chain.names) == tuple(stage.codec for stage in encoded.stages)
    assert StageSize("", numel * dtype.itemsize) == encoded.stages[0]


@given(any_chain, poolable, st.integers(0, 300), st.integers(0, 9))
def test_encoding_again_changes_nothing(
    chain: Chain, dtype: DType, numel: int, seed: int
) -> None:
    """What is decoded is encoded to values that decode to the same bits, where the same
    ones are selected, in the bytes foretold; and encoding twice gives the same bytes.

    But for a quantiser's values rounded to a dtype of 16 bits: they may be nearest to
    another scale than they were made with.
    """
    check_laws(chain, dtype, numel, seed)


@pytest.mark.parametrize(
    "chain",
    chains(
        "prune: 0.5, int: {bits: 4, block: 16}, zstd: 1",
        "prune: 0.97, zstd: 1",
        f"int: {{block: {BLOCK}}}",
        "kmeans: 3",
        "zstd: 1",
    ),
)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("numel", [PIECE + 1, 2 * BLOCK + 77])
def test_encoding_many_again(chain: Chain, dtype: DType, numel: int) -> None:
    """The same, where they are more than are worked on at a time."""
    check_laws(chain, dtype, numel, 0)


@needs("prune, int")
def test_what_is_selected_anew_may_differ() -> None:
    """A small weight beside a large one is zero in four bits, and so of the rank of
    those that were pruned: of equals the first survive, which moves those after them
    into other blocks.  Where the choice is kept, nothing changes."""
    chain = chain_of("prune: 0.5, int: {bits: 4, block: 8}")
    values = np.full(32, 1e-9, "<f4")
    values[8:16] = 0.01 * np.arange(1, 9)
    values[16:24] = [1, *[0.01] * 7]
    mask = np.repeat([False, True, True, False], 8)
    made = decoded(chain, chain.encode(values, FLOAT32).data.tobytes(), 32, FLOAT32)
    anew, kept = (
        decoded(chain, again.data.tobytes(), 32, FLOAT32)
        for again in (
            chain.encode(made, FLOAT32),
            chain.encode(made, FLOAT32, mask=mask),
        )
    )

    assert [True, *[False] * 7] == (made[16:24] != 0).tolist()
    assert made.tobytes() == kept.tobytes()
    assert made.tobytes() != anew.tobytes()


@pytest.mark.parametrize("numel", [0, 1, PIECE - 1, PIECE, PIECE + 1, BLOCK + 1])
@pytest.mark.parametrize("chain", chains("zstd: 1", "prune: 0, zstd: 1"))
@given(dtype=poolable)
def test_without_a_quantiser_no_bit_is_lost(
    numel: int, dtype: DType, chain: Chain
) -> None:
    """Values are stored as they are, whatever their dtype."""
    values = weights(numel, dtype)
    data = chain.encode(values, dtype).data.tobytes()

    assert (
        from_float(values, dtype).tobytes()
        == decoded(chain, data, numel, dtype).tobytes()
    )


@needs("prune, zstd")
def test_the_selected_stand_where_they_stood() -> None:
    """Those that were not selected are zero, without a sign."""
    values = weights(3 * PIECE + 5, FLOAT32)
    values[7] = -1e-9
    chain = chain_of("prune, zstd: 1")
    assert chain.selector
    mask = chain.selector.select(values)
    data = chain.encode(values, FLOAT32).data.tobytes()

    found = decoded(chain, data, len(values), FLOAT32)

    assert np.where(mask, values, np.float32(0)).tobytes() == found.tobytes()


@needs("prune")
def test_a_mask_that_is_given() -> None:
    """It is stored in the place of the selector's own."""
    values = np.arange(1, 11, dtype="<f4")
    mask = np.arange(10) % 2 == 0
    chain = chain_of("prune: 0.5")
    data = chain.encode(values, FLOAT32, mask=mask).data.tobytes()

    assert [1, 0, 3, 0, 5, 0, 7, 0, 9, 0] == decoded(chain, data, 10, FLOAT32).tolist()


@needs("zstd")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    """No codec stores NaN or infinity."""
    values = np.array([1, bad, 2, bad], "<f4")

    with pytest.raises(
        ValueError, match=r"^2 values are NaN or infinite, which no codec stores$"
    ):
        chain_of("zstd").encode(values, FLOAT32)


#: int4 in blocks of 8: [7 -7 0 1 2 3 -1 -2] · 1 and [1 7 -7] · 1/2.
INT4 = (
    "0400000000000000 00 00000000000000"  # the unit
    "0400000000000000 00 00000000000000"  # two scales
    "0600000000000000 00 00000000000000"  # eleven codes of 15 levels
    "00000040"  # 2, as float32
    "0038 0034"  # 1/2, 1/4: times the unit, 1 and 1/2
    "0e 87 a9 56"  # 14 0, 7 8, 9 10, 6 5: a code is a whole number plus 7
    "e8 00"  # 8 14, 0 and nothing
)
#: Half of ten weights in blocks of 8 of int8: [127 -64 1 -127 3] · 1.
PRUNED = (
    "0200000000000000 00 00000000000000"  # the mask
    "0400000000000000 00 00000000000000"
    "0200000000000000 00 00000000000000"
    "0500000000000000 00 00000000000000"
    "19 03"  # weights 0, 3, 4, 8, 9
    "00000040"
    "0038"
    "fe 3f 80 00 82"
)
#: 32 ones, as libzstd 1.5.7 wrote them.
CODED = (
    "1700000000000000 01 00000000000000"  # form 1: 23 bytes
    "13000000"  # one frame, 19 bytes
    "28b52ffd 20 80 550000 20 0000803f 010059 7a89"
)
#: Chain, blob, values.
GOLDEN = {
    "int": (
        "int: {bits: 4, block: 8}",
        INT4,
        [7, -7, 0, 1, 2, 3, -1, -2, 0.5, 3.5, -3.5],
    ),
    "prune, int": (
        "prune: 0.5, int: {block: 8}",
        PRUNED,
        [127, 0, 0, -64, 1, 0, 0, 0, -127, 3],
    ),
    "zstd": ("zstd", CODED, [1] * 32),
}
named = [pytest.param(name, marks=needs(name)) for name in GOLDEN]


@pytest.mark.parametrize("name", named)
def test_golden_blobs(name: str) -> None:
    """What was written once is read for ever."""
    written, text, values = GOLDEN[name]
    found = decoded(chain_of(written), bytes.fromhex(text), len(values), FLOAT32)

    assert values == found.tolist()


@pytest.mark.parametrize("name", named[:2])
def test_golden_bytes(name: str) -> None:
    """Where no library has a say, the same values are the same bytes for ever."""
    written, text, values = GOLDEN[name]

    found = chain_of(written).encode(np.array(values, "<f4"), FLOAT32)

    assert bytes.fromhex(text) == found.data.tobytes()


@needs("prune, int, zstd")
def test_sizes_of_stages() -> None:
    """What a pool takes after each stage; the last one is what is stored."""
    chain = chain_of("prune: 0.5, int: {block: 8}, zstd: 1")
    encoded = chain.encode(weights(1000, FLOAT32), FLOAT32)
    directory, mask, parameters = 4 * 16, 125, 4 + 2 * 63

    assert (
        StageSize("", 4000),
        StageSize("prune", 2 * 16 + mask + 4 * 500),
        StageSize("int", directory + mask + parameters + 500),
        StageSize("zstd", len(encoded.data)),
    ) == encoded.stages


@needs("prune, int")
@pytest.mark.parametrize(
    ("mask", "how"), [("1f03", "more"), ("1902", "fewer"), ("ff03", "more")]
)
def test_a_mask_of_another_count(mask: str, how: str) -> None:
    """It keeps as many as are stored."""
    data = bytes.fromhex(PRUNED.replace("19 03", mask))

    with pytest.raises(
        FormatError,
        match=f"^pool 'main': its mask keeps {how} values than the 5 that are stored$",
    ) as caught:
        decoded(chain_of(GOLDEN["prune, int"][0]), data, 10, FLOAT32)
    assert caught.value.__cause__ is None


@needs("int")
@pytest.mark.parametrize(
    ("half", "shown"), [(0x0000, "0.0"), (0x7C00, "inf"), (0x7E00, "nan")]
)
def test_hostile_scales(half: int, shown: str) -> None:
    """A scale that no encoder makes is refused with its pool's name."""
    data = bytearray(bytes.fromhex(INT4))
    data[54:56] = struct.pack("<H", half)

    with pytest.raises(
        FormatError, match=f"^pool 'main': the scale of block 1 is {shown}$"
    ):
        decoded(chain_of(GOLDEN["int"][0]), bytes(data), 11, FLOAT32)


@needs("kmeans")
def test_a_chain_without_an_entropy_coder_has_no_frames() -> None:
    """Its streams have one form."""
    data = record(4, 1) + bytes(4)

    with pytest.raises(FormatError, match=r"^pool 'main', stream 0: its form is 1, "):
        decoded(chain_of("kmeans: 1"), data + bytes(100), 9, FLOAT32)


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        pytest.param(written, dtype, marks=needs(written))
        for written, dtype in {
            "prune: 0.5, int: {bits: 4, block: 8}, zstd: 1": FLOAT32,
            "prune: 0.5": FLOAT64,
            "kmeans: 3, zstd: 1": FLOAT32,
            "pow2": FLOAT64,
            "ternary: 16, zstd: 1": FLOAT16,
            "float8_e4m3, zstd: 1": FLOAT32,
            "float16": BFLOAT16,
        }.items()
    ],
)
def test_every_changed_byte_is_decoded_or_refused(written: str, dtype: DType) -> None:
    """Nothing but finite values or a FormatError, and no warning, comes of a byte that
    is not what it was."""
    chain, numel = chain_of(written), 45
    data = chain.encode(weights(numel, dtype), dtype).data.tobytes()
    outcomes = set()
    for at in range(len(data)):
        for byte in {data[at] ^ 1 << bit for bit in range(8)} | {0, 255}:
            candidate = data[:at] + bytes([byte]) + data[at + 1 :]
            try:
                raw = decoded(chain, candidate, numel, dtype)
            except FormatError:
                outcomes.add("refused")
            else:
                outcomes.add("decoded")
                assert np.isfinite(to_float(raw, dtype)).all()

    assert {"refused", "decoded"} == outcomes


@pytest.mark.parametrize(
    "chain", chains("int: 4, zstd: 1", "prune: 0.9, int: 4, zstd: 1", "zstd: 1")
)
def test_decoding_takes_blocks_of_memory(chain: Chain) -> None:
    """Beside what is decoded, that of a few chunks (of 4 MiB where values are stored
    as they are) and of the scales."""
    values = weights(4 << 20, FLOAT32)
    data = chain.encode(values, FLOAT32).data
    out = np.empty_like(values)
    tracemalloc.start()
    try:
        chain.decode(lambda a, b: data[a:b], len(data), FLOAT32, out, "pool 'main'")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 14 << 20


#: Raw bits of two numbers, and of one that is none.
ODD = [
    (FLOAT64, [0, 1 << 62, 0x7FF0 << 48], "inf"),
    (FLOAT32, [0, 0x3F800000, 0xFF800000], "-inf"),
    (FLOAT16, [0, 0x7BFF, 0x7C01], "nan"),
    (BFLOAT16, [0, 0xFF7F, 0x7F80], "inf"),
]


@pytest.mark.parametrize("chain", chains("zstd: 1", "prune: 0.5, zstd: 1"))
@pytest.mark.parametrize(("dtype", "bits", "shown"), ODD)
def test_stored_values_that_are_none(
    chain: Chain, dtype: DType, bits: list[int], shown: str
) -> None:
    """A file whose values' own bits are NaN or infinity is refused, and is told which
    of those that are stored it is; all others come back."""
    raw = np.array(bits, f"<u{dtype.itemsize}")
    numel = PIECE + 3
    mask = np.arange(2 * numel) % 2 == 0 if chain.selector else np.ones(numel, bool)
    stored = np.resize(raw[:2], numel)
    symbols = Stream(stored.view(f"<u{min(4, dtype.itemsize)}"), 0)
    levels = 1 << 8 * symbols.symbols.itemsize
    marks = [Stream(mask.view("u1"), 2)] if chain.selector else []

    def written() -> bytes:
        streams = [*marks, symbols._replace(levels=levels)]
        return write_blob(streams, chain.entropy).data.tobytes()

    found = decoded(chain, written(), len(mask), dtype)
    assert stored.tobytes() == found[mask].tobytes()

    stored[-1] = raw[2]
    message = f"pool 'main': stored value {numel - 1} is {shown} in {dtype}"
    with pytest.raises(FormatError, match=f"^{message}$") as caught:
        decoded(chain, written(), len(mask), dtype)
    assert caught.value.__cause__ is None


@needs("int")
def test_decoded_values_that_the_dtype_has_no_room_for() -> None:
    """7 · 2^14 is none of float16's, though it is one of float32's."""
    chain, _, values = GOLDEN["int"]
    blob = bytearray(bytes.fromhex(INT4))
    blob[48:52] = struct.pack("<f", 2.0**15)
    wide = decoded(chain_of(chain), bytes(blob), 11, FLOAT32)

    assert (np.array(values) * 2.0**14).tolist() == wide.tolist()
    with pytest.raises(
        FormatError, match=r"^pool 'main': stored value 0 is inf in float16$"
    ):
        decoded(chain_of(chain), bytes(blob), 11, FLOAT16)


@pytest.mark.parametrize(
    ("written", "most", "message"),
    [
        pytest.param(written, most, message, marks=needs(written))
        for written, most, message in [
            ("zstd", 65519, ""),
            ("zstd", 65520, "magnitude of 65520"),
            ("prune: 0.5", 1e5, "magnitude of 1e+05"),
            ("pow2", 49151, ""),
            ("pow2", 49152, "magnitude of 65536, which pow2 makes"),
            ("float8_e4m3", 63487, ""),
            ("float8_e4m3", 63488, "magnitude of 65536, which float8_e4m3 makes"),
            ("bfloat16", 65500, "magnitude of 65536, which bfloat16 makes"),
            ("int", 65504, ""),
            ("kmeans", 65504, ""),
        ]
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_values_that_the_dtype_has_no_room_for(
    written: str, most: float, message: str, sign: int
) -> None:
    """What is decoded is rounded to the pool's dtype: nothing is stored that would be
    infinite then."""
    chain = chain_of(written)
    values = np.zeros(PIECE + 5, "<f4")
    values[-1] = sign * most
    if not message:
        data = chain.encode(values, FLOAT16).data.tobytes()
        assert np.isfinite(decoded(chain, data, len(values), FLOAT16)).all()
        return

    with pytest.raises(ValueError, match=r"^float16 has no room for a ") as caught:
        chain.encode(values, FLOAT16)
    assert f"float16 has no room for a {message}" == str(caught.value)
    assert chain.encode(values, BFLOAT16)
