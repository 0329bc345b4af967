"""Bytes of coded pools that no codec makes: S15 and S16.

The pool has 24 weights as whole numbers of 4 bits, three blocks of 8, each with a
scale; the tensors are those of the sound checkpoint, so that every command that reads
weights meets them.
"""

from __future__ import annotations

import struct
from copy import deepcopy
from pathlib import Path
from typing import Any

import zstandard

from tests.crafting import Stored, coded, plan_with, wpool
from tests.hostile.case import ALREADY, Case, needing, pool_case, written

#: Codecs without which there are no such cases.
NEEDED = ("int", "zstd")
INT = {"name": "int", "bits": 4, "block": 8}
ZSTD = {"name": "zstd"}
TENSORS: list[dict[str, Any]] = [
    {
        "name": "weight",
        "dtype": "F32",
        "shape": [6, 4],
        "parts": [{"pool": "main", "start": 0, "length": 24, "numel": 24}],
    },
    {"name": "bias", "dtype": "F32", "shape": [6], "kept": True},
]
BIAS: Stored = ("bias", "F32", [6], bytes(24))
#: Those that read weights, and not only a plan.
READING = (
    *("verify", "inflate", "inflate to .pt", "diff", "diff, the other way", "eval"),
)

UNIT = (0, struct.pack("<f", 1.0))
_SCALES = (0, struct.pack("<3e", 1.0, 2.0, 0.5))
_CODES = (0, bytes([0x70 + i for i in range(12)]))
SOUND = coded(UNIT, _SCALES, _CODES)


def plan_of(chain: Any, **changes: Any) -> dict[str, Any]:
    pools = {"pools__0__codecs": chain, "pools__0__backing": 24}
    return plan_with(**pools, tensors=deepcopy(TENSORS), **changes)


def _stored(
    folder: Path, chain: Any, blob: bytes, message: str, **changes: Any
) -> Case:
    """Bytes that are none of this chain's, with checksums that fit."""
    gap = -len(blob) % 8
    pads: list[Stored] = [("__pad__.0", "U8", [gap], bytes(gap))] if gap else []
    stored = [("pool/main", "U8", [len(blob)], blob), *pads, BIAS]
    file = written(folder / "x.wpool", wpool(plan_of(chain, **changes), stored))
    already = f"{file}: {ALREADY.format(file)}"
    says = f"{file}: tensor 'pool/main'{message}"
    return Case(file, says, READING, but=dict.fromkeys(("plan", "compress"), already))


def _scales(folder: Path, scales: bytes, message: str) -> Case:
    return _stored(folder, [INT], coded(UNIT, (0, scales), _CODES), f": {message}")


def s15_scale_of_nan(folder: Path) -> Case:
    scales = struct.pack("<3e", 1.0, float("nan"), 1.0)
    return _scales(folder, scales, "the scale of block 1 is nan")


def s15_scale_of_infinity(folder: Path) -> Case:
    scales = struct.pack("<3e", 1.0, 1.0, float("inf"))
    return _scales(folder, scales, "the scale of block 2 is inf")


def s15_scale_of_0(folder: Path) -> Case:
    scales = struct.pack("<3e", 0.0, 1.0, 1.0)
    return _scales(folder, scales, "the scale of block 0 is 0.0")


def s15_negative_scale(folder: Path) -> Case:
    scales = struct.pack("<3e", -1.0, 1.0, 1.0)
    return _scales(folder, scales, "the scale of block 0 is -1.0")


def _unit(folder: Path, unit: float, shown: str) -> Case:
    blob = coded((0, struct.pack("<f", unit)), _SCALES, _CODES)
    says = f": the unit is {shown}, no power of two from 2^-100 to 2^127"
    return _stored(folder, [INT], blob, says)


def s15_unit_of_nan(folder: Path) -> Case:
    return _unit(folder, float("nan"), "nan")


def s15_unit_of_three(folder: Path) -> Case:
    return _unit(folder, 3.0, "3.0")


def s15_negative_unit(folder: Path) -> Case:
    return _unit(folder, -2.0, "-2.0")


def s15_scales_that_overflow(folder: Path) -> Case:
    blob = coded((0, struct.pack("<f", 2.0**127)), _SCALES, _CODES)
    return _stored(folder, [INT], blob, ": a scale is 3.4e+38, too large")


def s15_scales_that_overflow_the_dtype(folder: Path) -> Case:
    """7 times 2^14 is an infinity to float16."""
    blob = coded((0, struct.pack("<f", 2.0**14)), _SCALES, (0, bytes([0xEE] * 12)))
    says = ": stored value 0 is inf in float16"
    return _stored(folder, [INT], blob, says, pools__0__dtype="F16")


def _values(folder: Path, name: str, codes: bytes, says: str, *unit: Any) -> Case:
    """Codes of a cast: 24 weights."""
    blob = coded(*unit, (0, codes))
    return _stored(folder, [{"name": name}], blob, f": stored value {says} in {name}")


@needing("float16")
def s15_value_of_nan(folder: Path) -> Case:
    codes = struct.pack("<24H", *range(22), 0xFC01, 0x7E00)
    return _values(folder, "float16", codes, "22 is nan")


@needing("float16")
def s15_value_of_infinity(folder: Path) -> Case:
    codes = struct.pack("<24H", *range(23), 0xFC00)
    return _values(folder, "float16", codes, "23 is -inf")


@needing("bfloat16")
def s15_bfloat16_of_infinity(folder: Path) -> Case:
    codes = struct.pack("<24H", 0x7F80, *range(23))
    return _values(folder, "bfloat16", codes, "0 is inf")


@needing("float8_e4m3")
def s15_float8_of_nan(folder: Path) -> Case:
    codes = bytes([*range(23), 0xFF])
    return _values(folder, "float8_e4m3", codes, "23 is nan", UNIT)


@needing("float8_e4m3")
def s15_unit_of_float8_that_overflows(folder: Path) -> Case:
    """448 times 2^120 is an infinity to float32."""
    unit = (0, struct.pack("<f", 2.0**120))
    blob = coded(unit, (0, bytes(24)))
    says = f": the unit is {2.0**120!r}, too large"
    return _stored(folder, [{"name": "float8_e4m3"}], blob, says)


def s15_own_bits_of_nan(folder: Path) -> Case:
    """Of weights that nothing but an entropy coder stores."""
    raw = struct.pack("<24f", *range(7), float("nan"), *range(16))
    blob = coded((0, raw))
    return _stored(folder, [ZSTD], blob, ": stored value 7 is nan in float32")


@needing("prune")
def s15_survivor_of_infinity(folder: Path) -> Case:
    """The third of 12 that are stored."""
    raw = struct.pack("<12f", 0, 0, float("inf"), *range(9))
    blob = coded((0, b"\xff\x0f\0"), (0, raw))
    chain = [{"name": "prune", "share": "0.5"}]
    return _stored(folder, chain, blob, ": stored value 2 is inf in float32")


@needing("kmeans")
def s15_codebook_of_nan(folder: Path) -> Case:
    book = struct.pack("<2f", 1.0, float("nan"))
    blob = coded((0, book), (0, bytes(3)))
    chain = [{"name": "kmeans", "bits": 1}]
    return _stored(folder, chain, blob, ": value 1 of the codebook is nan")


@needing("pow2")
def s15_power_of_two_that_overflows(folder: Path) -> Case:
    blob = coded((0, bytes([218])), (0, bytes(12)))
    says = ": the largest power of two is 2^128, too large"
    return _stored(folder, [{"name": "pow2"}], blob, says)


def s15_too_few_scales(folder: Path) -> Case:
    """Of the size that the plan asks for, all told."""
    blob = coded(UNIT, (0, _SCALES[1][:4]), (0, _CODES[1] + bytes(2)))
    says = ", stream 1: its 3 symbols take 4 bytes, not 6"
    return _stored(folder, [INT], blob, says)


def s15_code_that_no_number_has(folder: Path) -> Case:
    """Of 16 codes 15 stand for numbers."""
    blob = coded(UNIT, _SCALES, (0, bytes([0xF0, *bytes(11)])))
    says = ", stream 2, chunk 0: a symbol is 15, of 15 levels"
    return _stored(folder, [INT], blob, says)


def s15_fewer_bytes_than_weights(folder: Path) -> Case:
    stored: list[Stored] = [("pool/main", "U8", [69], SOUND[:-1]), BIAS]
    data = wpool(plan_of([INT]), stored)
    says = (
        "tensor 'pool/main': 69 bytes are stored, but int make exactly 70 of 24 values"
    )
    return pool_case(folder, data, says)


def s15_pool_of_floats(folder: Path) -> Case:
    data = wpool(plan_of([INT]), [("pool/main", "F32", [24], bytes(96)), BIAS])
    says = (
        "tensor 'pool/main': stored as F32 [24], but what codecs make is U8 of one"
        " dimension"
    )
    return pool_case(folder, data, says)


@needing("prune")
def s15_mask_that_keeps_all(folder: Path) -> Case:
    """Of 24 weights 12 are stored."""
    chain = [{"name": "prune", "share": "0.5"}]
    blob = coded((0, b"\xff" * 3), (0, bytes(48)))
    says = ": its mask keeps more values than the 12 that are stored"
    return _stored(folder, chain, blob, says)


@needing("prune")
def s15_mask_that_keeps_too_few(folder: Path) -> Case:
    chain = [{"name": "prune", "share": "0.5"}]
    blob = coded((0, b"\xff\0\0"), (0, bytes(48)))
    says = ": its mask keeps fewer values than the 12 that are stored"
    return _stored(folder, chain, blob, says)


def _frames(folder: Path, payload: bytes, message: str) -> Case:
    """24 weights as they are, as one chunk of an entropy coder."""
    blob = coded((1, payload))
    return _stored(folder, [ZSTD], blob, f", stream 0{message}")


def _frame(folder: Path, frame: bytes, message: str) -> Case:
    payload = struct.pack("<I", len(frame)) + frame
    return _frames(folder, payload, f", chunk 0: {message}")


def _compressed(raw: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(raw)


def s16_frame_without_a_size(folder: Path) -> Case:
    frame = _compressed(bytes(96), write_content_size=False)
    return _frame(folder, frame, "its frame does not declare its size")


def s16_frame_of_another_size(folder: Path) -> Case:
    frame = _compressed(bytes(95))
    return _frame(folder, frame, "its frame declares 95 bytes, not 96")


def s16_frame_of_a_gigabyte(folder: Path) -> Case:
    """Which takes 33 KB: nothing is decompressed."""
    frame = b"\x28\xb5\x2f\xfd\xa0" + struct.pack("<I", 1 << 30) + b"\0" * 9
    return _frame(folder, frame, "its frame declares 1073741824 bytes, not 96")


def s16_frame_that_holds_less(folder: Path) -> Case:
    """Its header says 96."""
    frame = bytearray(_compressed(bytes(95)))
    frame[frame.index(95, 4)] = 96
    says = "its frame is damaged: decompression error: Data corruption detected"
    return _frame(folder, bytes(frame), says)


def s16_two_frames(folder: Path) -> Case:
    frame = _compressed(bytes(96))
    says = f"its frame is damaged: compressed input contains {len(frame)} bytes of"
    return _frame(folder, frame * 2, f"{says} unused data, which is disallowed")


def s16_dictionary(folder: Path) -> Case:
    raw = b"\x28\xb5\x2f\xfd\x21\x07\x60" + bytes(9)
    return _frame(folder, raw, "its frame needs the dictionary 7")


def s16_no_frame(folder: Path) -> Case:
    says = "its frame does not begin as one of Zstandard"
    return _frame(folder, bytes(20), says)


def s16_skippable_frame(folder: Path) -> Case:
    frame = b"\x50\x2a\x4d\x18" + struct.pack("<I", 8) + bytes(8)
    return _frame(folder, frame, "its frame does not begin as one of Zstandard")


def s16_frame_cut_short(folder: Path) -> Case:
    frame = _compressed(bytes(range(48)) * 2)[:-8]
    says = "its frame is damaged: decompression error: did not decompress full frame"
    return _frame(folder, frame, says)


def s16_sizes_that_do_not_add_up(folder: Path) -> Case:
    says = ": the sizes of its 1 frames do not add up to its own"
    return _frames(folder, struct.pack("<I", 2**32 - 1) + bytes(20), says)


def s16_no_room_for_sizes(folder: Path) -> Case:
    says = ": the sizes of its 1 frames do not add up to its own"
    return _frames(folder, b"\0", says)


def s16_unknown_form(folder: Path) -> Case:
    blob = coded((3, bytes(20)))
    says = ", stream 0: its form is 3, which is not known"
    return _stored(folder, [ZSTD], blob, says)


def s16_form_of_a_coder_that_is_not_there(folder: Path) -> Case:
    blob = coded(UNIT, _SCALES, (1, _CODES[1]))
    says = ", stream 2: its form is 1, which is not known"
    return _stored(folder, [INT], blob, says)


def s16_larger_than_uncompressed(folder: Path) -> Case:
    data = wpool(plan_of([ZSTD]), [("pool/main", "U8", [113], bytes(113)), BIAS])
    says = (
        "tensor 'pool/main': 113 bytes are stored, but zstd make at most 112 of 24"
        " values"
    )
    return pool_case(folder, data, says)


def s16_nothing_stored(folder: Path) -> Case:
    return _stored(folder, [ZSTD], b"", ": its 0 bytes hold no 1 streams")


def s16_streams_that_end_early(folder: Path) -> Case:
    blob = coded((1, bytes(20))) + b"\0"
    return _stored(folder, [ZSTD], blob, ": its streams end at byte 36 of 37")
