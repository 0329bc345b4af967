"""Headers that must be refused, by the number of the fault, and with which words."""

from __future__ import annotations

import json

from tests.crafting import one_tensor, raw_file
from wpack.tensors import BY_CODE

KNOWN = ", ".join(BY_CODE)


def fields(dtype: str = '"F32"', shape: str = "[2]", offsets: str = "[0,8]") -> str:
    """The fields of a tensor of eight bytes, one of them perhaps wrong."""
    return f'"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}'


def two_tensors(first: str, second: str, data: bytes = bytes(16)) -> bytes:
    """A file with two U8 tensors at the given offsets."""
    entries = []
    for name, offsets in (("a", first), ("b", second)):
        begin, end = json.loads(offsets)
        entry = f'"dtype":"U8","shape":[{end - begin}],"data_offsets":[{begin},{end}]'
        entries.append(f'"{name}":{{{entry}}}')
    return raw_file(f"{{{','.join(entries)}}}".encode(), data)


REFUSED = {
    "H01 empty": (b"", "not a safetensors or .wpool file (0 bytes)"),
    "H01 seven bytes": (bytes(7), "not a safetensors or .wpool file (7 bytes)"),
    "H02 length 0": (
        bytes(16),
        "its header length is 0; the shortest header is 2 bytes",
    ),
    "H02 length 1": (
        raw_file(b"{}", length=1),
        "its header length is 1; the shortest header is 2 bytes",
    ),
    "H03 longer than the file": (
        raw_file(b"{}", length=100),
        "truncated: needs at least 108 bytes, has 10. Download or copy it again",
    ),
    "H03 2^63 + 1": (
        raw_file(b"{}", length=2**63 + 1),
        "its header length is 9223372036854775809; safetensors allows 100000000",
    ),
    "H03 2^64 - 1": (
        raw_file(b"{}", length=2**64 - 1),
        "its header length is 18446744073709551615; safetensors allows 100000000",
    ),
    "H04 above the format's limit": (
        raw_file(b"{}", length=100_000_001),
        "its header length is 100000001; safetensors allows 100000000",
    ),
    "H04 at the format's limit": (
        raw_file(b"{}", length=100_000_000),
        "truncated: needs at least 100000008 bytes, has 10. Download or copy it again",
    ),
    "H06 not UTF-8": (
        raw_file(b'{"\xff":{}}'),
        "its header is not UTF-8 at byte 2",
    ),
    "H06 lone surrogate in a name": (
        one_tensor(fields(), name=r"\ud800"),
        r"the tensor name '\ud800' is not valid Unicode",
    ),
    "H06 lone surrogate in metadata": (
        raw_file(rb'{"__metadata__":{"a":"\ud800"}}'),
        "__metadata__: 'a' is not valid Unicode",
    ),
    "H07 not JSON": (
        raw_file(b"{nope}"),
        "its header: not JSON: Expecting property name enclosed in double quotes at"
        " character 1",
    ),
    "H07 trailing NUL": (
        raw_file(b"{}\0\0"),
        "its header ends with byte 0x00, not with '}' and spaces",
    ),
    "H07 trailing newline": (
        raw_file(b"{}\n  "),
        "its header ends with byte 0x0a, not with '}' and spaces",
    ),
    "H07 trailing letter": (
        raw_file(b"{}X "),
        "its header ends with byte 0x58, not with '}' and spaces",
    ),
    "H07 byte order mark": (
        raw_file(b"\xef\xbb\xbf{}"),
        "its header begins with byte 0xef, not with '{'",
    ),
    "H07 list": (raw_file(b"[]  "), "its header begins with byte 0x5b, not with '{'"),
    "H07 leading space": (
        raw_file(b" {}"),
        "its header begins with byte 0x20, not with '{'",
    ),
    "H07 second document": (
        raw_file(b"{} {}"),
        "its header: not JSON: Extra data at character 3",
    ),
    "H08 deep": (
        raw_file(b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}"),
        "its header: not JSON: nested too deeply",
    ),
    "H08 very deep": (
        raw_file(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"),
        "its header has more brackets than its tensors can need",
    ),
    "H09 duplicate name": (
        raw_file(b'{"w":{},"w":{}}'),
        "its header: the key 'w' stands twice in one object",
    ),
    "H10 duplicate metadata": (
        raw_file(b'{"__metadata__":{"k":"1","k":"2"}}'),
        "its header: the key 'k' stands twice in one object",
    ),
    "H11 metadata no string": (
        raw_file(b'{"__metadata__":{"k":1}}'),
        "__metadata__: the value of 'k' is no string",
    ),
    "H11 metadata nested": (
        raw_file(b'{"__metadata__":{"k":{"a":"b"}}}'),
        "__metadata__: the value of 'k' is no string",
    ),
    "H11 metadata a list": (
        raw_file(b'{"__metadata__":["k"]}'),
        "__metadata__: the entry must be an object, got ['k']",
    ),
    "H12 NaN": (
        one_tensor(fields(shape="[NaN]")),
        "its header: the number NaN is not an integer",
    ),
    "H12 Infinity": (
        one_tensor(fields(shape="[-Infinity]")),
        "its header: the number -Infinity is not an integer",
    ),
    "H12 1e400": (
        one_tensor(fields(shape="[1e400]")),
        "its header: the number 1e400 is not an integer",
    ),
    "H12 30 digits": (
        one_tensor(fields(shape=f"[{'1' * 30}]")),
        f"tensor 'w': shape must be an integer from 0, got {'1' * 30}",
    ),
    "H12 true": (
        one_tensor(fields(shape="[true]")),
        "tensor 'w': shape must be an integer from 0, got True",
    ),
    "H13 negative": (
        one_tensor(fields(offsets="[-8,0]")),
        "tensor 'w': data_offsets must be an integer from 0, got -8",
    ),
    "H13 float": (
        one_tensor(fields(offsets="[0,8.0]")),
        "its header: the number 8.0 is not an integer",
    ),
    "H13 string": (
        one_tensor(fields(offsets='"0,8"')),
        "tensor 'w': data_offsets must be a list, got '0,8'",
    ),
    "H13 three": (
        one_tensor(fields(offsets="[0,8,8]")),
        "tensor 'w': data_offsets must be two numbers, got 3",
    ),
    "H14 begin after end": (
        one_tensor(fields(offsets="[8,0]")),
        "tensor 'w': begins at byte 8 but ends at 0",
    ),
    "H14 end after data": (
        one_tensor(fields(shape="[4]", offsets="[0,16]")),
        "truncated: needs 79 bytes, has 71. Download or copy it again",
    ),
    "H14 overflow": (
        one_tensor(fields(offsets="[0,18446744073709551616]")),
        "tensor 'w': data_offsets must be an integer from 0, got 18446744073709551616",
    ),
    "H15 overlap": (
        two_tensors("[0,16]", "[8,16]"),
        "8 shared bytes between tensor 'a' and tensor 'b', at byte 124",
    ),
    "H15 same bytes": (
        two_tensors("[0,16]", "[0,16]"),
        "16 shared bytes between tensor 'a' and tensor 'b', at byte 117",
    ),
    "H16 hole": (
        two_tensors("[0,4]", "[8,16]"),
        "4 unreferenced bytes between tensor 'a' and tensor 'b', at byte 118",
    ),
    "H16 hole at the start": (
        two_tensors("[4,8]", "[8,16]"),
        "4 unreferenced bytes between the header and tensor 'a', at byte 114",
    ),
    "H16 trailing bytes": (
        two_tensors("[0,4]", "[4,12]"),
        "4 unreferenced bytes after tensor 'b', at byte 126",
    ),
    "H16 no tensors": (
        raw_file(b"{}", b"PK"),
        "2 unreferenced bytes after the header, at byte 10",
    ),
    "H16 hole of a byte": (
        two_tensors("[0,4]", "[5,16]"),
        "1 unreferenced bytes between tensor 'a' and tensor 'b', at byte 119",
    ),
    "H18 size of the second tensor": (
        raw_file(
            b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},'
            b'"b":{"dtype":"U8","shape":[3],"data_offsets":[4,8]}}',
            bytes(8),
        ),
        "tensor 'b': U8 of shape [3] takes 3 bytes, but its data_offsets span 4",
    ),
    "H18 size": (
        one_tensor(fields(shape="[3]")),
        "tensor 'w': F32 of shape [3] takes 12 bytes, but its data_offsets span 8",
    ),
    "H19 overflow": (
        one_tensor(fields(shape="[4294967296,4294967296,4294967296]")),
        "tensor 'w': shape [4294967296, 4294967296, 4294967296] is too large",
    ),
    "H19 hidden by a zero": (
        one_tensor(fields(shape="[0,18446744073709551615]", offsets="[0,0]"), b""),
        "tensor 'w': shape must be an integer from 0, got 18446744073709551615",
    ),
    "H19 product hidden by a zero": (
        one_tensor(fields(shape=f"[0,{2**62},{2**62}]", offsets="[0,0]"), b""),
        f"tensor 'w': shape [0, {2**62}, {2**62}] is too large",
    ),
    "H19 2^63 hidden by a zero": (
        one_tensor(fields(shape=f"[0,{2**62},2]", offsets="[0,0]"), b""),
        f"tensor 'w': shape [0, {2**62}, 2] is too large",
    ),
    "H20 negative": (
        one_tensor(fields(shape="[-1,-2]")),
        "tensor 'w': shape must be an integer from 0, got -1",
    ),
    "H20 float": (
        one_tensor(fields(shape="[2.0]")),
        "its header: the number 2.0 is not an integer",
    ),
    "H20 rank 33": (
        one_tensor(fields(shape=str([1] * 33), offsets="[0,4]"), bytes(4)),
        f"tensor 'w': shape {str([1] * 33)[:80]} is too large",
    ),
    "H22 unknown dtype": (
        one_tensor(fields(dtype='"Q4"')),
        f"tensor 'w': unknown dtype 'Q4' (there are: {KNOWN})",
    ),
    "H22 wrong case": (
        one_tensor(fields(dtype='"f32"')),
        f"tensor 'w': unknown dtype 'f32' (there are: {KNOWN})",
    ),
    "H22 no string": (
        one_tensor(fields(dtype='["F32"]')),
        f"tensor 'w': unknown dtype ['F32'] (there are: {KNOWN})",
    ),
    "H23 F4": (
        one_tensor(fields(dtype='"F4"', shape="[16]")),
        f"tensor 'w': unknown dtype 'F4' (there are: {KNOWN})",
    ),
    "H25 empty name": (one_tensor(fields(), name=""), "a tensor's name is empty"),
    "H25 NUL": (
        one_tensor(fields(), name=r"a\u0000b"),
        r"the tensor name 'a\x00b' holds a control character",
    ),
    "H25 newline": (
        one_tensor(fields(), name=r"a\nb"),
        r"the tensor name 'a\nb' holds a control character",
    ),
    "H25 ANSI escape": (
        one_tensor(fields(), name=r"\u001b[31m"),
        r"the tensor name '\x1b[31m' holds a control character",
    ),
    "H25 C1 control": (
        one_tensor(fields(), name=r"\u009b31m"),
        r"the tensor name '\x9b31m' holds a control character",
    ),
    "H25 long": (
        one_tensor(fields(), name="é" * 3000),
        "a tensor's name is 6000 bytes long; the limit is 4096",
    ),
    "H26 __metadata__ as a tensor": (
        one_tensor(fields(), name="__metadata__"),
        "__metadata__: the value of 'shape' is no string",
    ),
    "H27 unknown field": (
        one_tensor(fields() + ',"strides":[1]'),
        "tensor 'w': has the unknown key 'strides'",
    ),
    "H27 missing field": (
        one_tensor('"dtype":"F32","shape":[2]'),
        "tensor 'w': lacks the key 'data_offsets'",
    ),
    "H28 big-endian": (
        (2).to_bytes(8, "big") + b"{}",
        "not a safetensors or .wpool file but written in big-endian order. Write its"
        " header length and its numbers in little-endian order",
    ),
    "H29 LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "not a safetensors or .wpool file but a Git LFS pointer. Fetch it with"
        " `git lfs pull`",
    ),
    "H29 web page": (
        b"\n<!DOCTYPE html><title>404</title>",
        "not a safetensors or .wpool file but a web page. The download failed: look"
        " into the file, then download it again",
    ),
    "H29 GGUF": (
        b"GGUF" + (3).to_bytes(4, "little") + bytes(24),
        "not a safetensors or .wpool file but a GGUF file. Convert it to safetensors"
        " first",
    ),
    "H29 zip": (
        b"PK\3\4" + bytes(26),
        "not a safetensors or .wpool file but a zip archive. If torch.save wrote it,"
        " name it *.pt",
    ),
    "H29 pickle": (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "not a safetensors or .wpool file but a Python pickle. If torch.save wrote it,"
        " name it *.pt",
    ),
    "H29 gzip": (
        b"\x1f\x8b\x08" + bytes(600_000),
        "not a safetensors or .wpool file but gzip-compressed. Decompress it with"
        " `gunzip` first",
    ),
    "H29 index": (
        b'{"weight_map": {"w": "a.safetensors"}}',
        "not a safetensors or .wpool file but JSON text. If it is the index of a"
        " sharded checkpoint, name it *.safetensors.index.json",
    ),
}
