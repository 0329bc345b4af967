"""Hostile files that do not get past their header: H05 to H27.

The table of ``tests/bad_headers.py`` stands beside them.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tests.bad_headers import fields
from tests.crafting import PLAN, STORED, one_tensor, raw_file, safetensors, wpool
from tests.hostile.case import (
    EVERY,
    Case,
    header_case,
    written,
)
from wpack.header import MAX_HEADER

_AGAIN = "Download or copy it again"
_SOUND = safetensors([("a", "F32", [2], bytes(8)), ("b", "F32", [2, 2], bytes(16))])
_HEADER = len(_SOUND) - 24


def h05_header_above_our_limit(folder: Path) -> Case:
    case = header_case(
        folder,
        raw_file(b"{", length=MAX_HEADER + 1),
        "its header is 16777217 bytes; the limit is 16777216. If you trust the file,"
        " give --max-header 16777217",
    )
    os.truncate(folder / case.file, 90_000_000)
    return case


def _almost_too_long(folder: Path, entry: str, size: int, message: str) -> Case:
    """A header of as many entries as the limit allows.  It is refused as soon as it
    is read, which takes a fifth of a second and 30 MB a mebibyte at most."""
    entries = ",".join(f'"{i:x}":{entry}' for i in range(MAX_HEADER // size))
    case = header_case(folder, raw_file(f"{{{entries}}}".encode(), b"x"), message)
    return replace(case, commands=("stats",), seconds=6.0, mebibytes=512)


def h05_as_many_names_as_there_can_be(folder: Path) -> Case:
    says = "tensor '0': the entry must be an object, got 0"
    return _almost_too_long(folder, "0", 11, says)


def h05_as_many_tensors_as_there_can_be(folder: Path) -> Case:
    entry = '{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    says = "1 unreferenced bytes after tensor '44443', at byte 15588825"
    return _almost_too_long(folder, entry, 60, says)


def h08_metadata_nested(folder: Path) -> Case:
    deep = b'{"__metadata__":' + b'{"a":' * 2000 + b"1" + b"}" * 2001
    says = "its header: not JSON: nested too deeply"
    return header_case(folder, raw_file(deep), says)


def h09_same_name_in_escapes(folder: Path) -> Case:
    entry = f"{{{fields()}}}"
    text = rf'{{"w":{entry},"\u0077":{entry}}}'
    return header_case(
        folder,
        raw_file(text.encode(), bytes(8)),
        "its header: the key 'w' stands twice in one object",
    )


def h10_key_twice_in_an_entry(folder: Path) -> Case:
    return header_case(
        folder,
        one_tensor(fields() + ',"dtype":"F32"'),
        "its header: the key 'dtype' stands twice in one object",
    )


def h12_minus_nought(folder: Path) -> Case:
    return header_case(
        folder,
        one_tensor(fields(shape="[-0]", offsets="[0,0]"), b""),
        "its header: the number -0 is not an integer",
    )


def h12_number_of_5000_digits(folder: Path) -> Case:
    return header_case(
        folder,
        one_tensor(fields(shape=f"[{'1' * 5000}]")),
        "its header: an integer has thousands of digits",
    )


def h13_offsets_of_null(folder: Path) -> Case:
    return header_case(
        folder,
        one_tensor(fields(offsets="null")),
        "tensor 'w': data_offsets must be a list, got None",
    )


def h15_the_same_bytes_a_thousand_times(folder: Path) -> Case:
    entries = ",".join(f'"t{i}":{{{fields()}}}' for i in range(1000))
    return header_case(
        folder,
        raw_file(f"{{{entries}}}".encode(), bytes(8)),
        "8 shared bytes between tensor 't0' and tensor 't1', at byte 55899",
    )


def h16_zip_behind_the_data(folder: Path) -> Case:
    return header_case(
        folder,
        _SOUND + b"PK\5\6" + bytes(18),
        f"22 unreferenced bytes after tensor 'b', at byte {len(_SOUND)}",
    )


def h17_cut_in_the_length(folder: Path) -> Case:
    return header_case(folder, _SOUND[:5], "not a safetensors or .wpool file (5 bytes)")


def h17_cut_in_the_header(folder: Path) -> Case:
    return header_case(
        folder,
        _SOUND[:40],
        f"truncated: needs at least {_HEADER} bytes, has 40. {_AGAIN}",
    )


def h17_cut_after_the_header(folder: Path) -> Case:
    return header_case(
        folder,
        _SOUND[:_HEADER],
        f"truncated: needs {len(_SOUND)} bytes, has {_HEADER}. {_AGAIN}",
    )


def h17_cut_between_tensors(folder: Path) -> Case:
    return header_case(
        folder,
        _SOUND[: _HEADER + 8],
        f"truncated: needs {len(_SOUND)} bytes, has {_HEADER + 8}. {_AGAIN}",
    )


def h17_cut_by_a_byte(folder: Path) -> Case:
    return header_case(
        folder,
        _SOUND[:-1],
        f"truncated: needs {len(_SOUND)} bytes, has {len(_SOUND) - 1}. {_AGAIN}",
    )


def h17_pool_file_cut_in_its_pool(folder: Path) -> Case:
    whole = wpool(PLAN, STORED)
    file = written(folder / "x.wpool", whole[:-20])
    says = f"truncated: needs {len(whole)} bytes, has {len(whole) - 20}. {_AGAIN}"
    return Case(file, f"{file}: {says}", EVERY)


def h20_rank_of_a_million(folder: Path) -> Case:
    shape = "[" + "1," * 1_000_000 + "1]"
    return header_case(
        folder,
        one_tensor(fields(shape=shape)),
        f"tensor 'w': shape {str([1] * 40)[:80]} is too large",
    )


def h24_bool_of_two(folder: Path) -> Case:
    """Found by the commands that read all tensors."""
    matrix = ("weight", "F32", [6, 4], bytes(96))
    data = safetensors([matrix, ("mask", "BOOL", [2, 2], b"\0\1\2\1")])
    file = written(folder / "x.safetensors", data)
    says = f"{file}: tensor 'mask': element 2 is the BOOL 2, neither 0 nor 1"
    return Case(file, says, ("inflate", "compress"))


def h25_name_of_a_megabyte(folder: Path) -> Case:
    return header_case(
        folder,
        one_tensor(fields(), name="n" * 1_000_000),
        "a tensor's name is 1000000 bytes long; the limit is 4096",
    )


def h25_message_cannot_be_broken(folder: Path) -> Case:
    """Line ends that are no control characters, marks that turn the text round, and
    codes that colour it: all are told, none is obeyed."""
    return header_case(
        folder,
        one_tensor(fields(shape="[3]"), name=r"\u2028\u202e\u2029[31m"),
        r"tensor '\u2028\u202e\u2029[31m': F32 of shape [3] takes 12 bytes, but its"
        " data_offsets span 8",
    )


def h27_field_of_control_characters(folder: Path) -> Case:
    return header_case(
        folder,
        one_tensor(fields() + r',"\u001b[2J\n":1'),
        r"tensor 'w': has the unknown key '\x1b[2J\n'",
    )
