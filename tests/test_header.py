"""Safetensors headers: what is accepted, what is refused and with which words."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize, safe_open

from tests.bad_headers import REFUSED, fields
from tests.crafting import one_tensor, raw_file, refusal, safetensors
from wpack import header
from wpack.errors import FormatError
from wpack.header import Entry, Header
from wpack.tensors import BY_CODE


def parse(path: Path, **limits: int) -> Header:
    """Read a file's header as everything in wpack does."""
    fd = header.open_regular(path)
    try:
        return header.read_header(fd, str(path), **limits)
    finally:
        os.close(fd)


@pytest.mark.parametrize(("blob", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, blob: bytes, message: str) -> None:
    """A header that breaks a rule is refused in one line that says which."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(blob)

    with pytest.raises(FormatError) as error:
        parse(path)

    assert message == refusal(error, path)


def test_h05_header_above_the_limit(tmp_path: Path) -> None:
    """A header above wpack's own limit is refused unread, and the limit can be set."""
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(raw_file(b"{", length=header.MAX_HEADER + 1))
        file.truncate(1 << 30)

    with pytest.raises(FormatError) as error:
        parse(path)

    assert (
        "its header is 16777217 bytes; the limit is 16777216. If you trust the file,"
        " give --max-header 16777217" == refusal(error, path)
    )

    path.write_bytes(raw_file(b"{}".ljust(100)))

    assert () == parse(path, max_header=100).entries
    with pytest.raises(FormatError, match="the limit is 99"):
        parse(path, max_header=99)


def test_h08_as_many_brackets_as_a_header_may_have(tmp_path: Path) -> None:
    """Of both kinds together: 4096, and one for each 12 bytes."""
    path = tmp_path / "x.safetensors"

    def brackets(numel: int) -> bytes:
        return b'{"__metadata__":{"k":"' + (b"[{" * numel)[:numel] + b'"}}'

    fitting = (n for n in range(6000) if n + 2 <= 4096 + len(brackets(n)) // 12)
    most = max(fitting)
    path.write_bytes(raw_file(brackets(most)))

    assert most == len(parse(path).metadata["k"])

    path.write_bytes(raw_file(brackets(most + 1)))
    with pytest.raises(FormatError, match="more brackets than its tensors can need"):
        parse(path)


def test_h12_number_of_5000_digits(tmp_path: Path) -> None:
    """The interpreter's own limit on digits is an error like any other."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(one_tensor(fields(shape=f"[{'1' * 5000}]")))

    with pytest.raises(FormatError):
        parse(path)


def test_h17_every_cut(tmp_path: Path) -> None:
    """A file cut at any byte is refused, and from the header's length on the message
    says so."""
    whole = safetensors(
        [("a", "F32", [2], bytes(8)), ("b", "U8", [0], b""), ("c", "I64", [], bytes(8))]
    )
    path = tmp_path / "x.safetensors"
    data_byte = len(whole) - 16
    for size in range(len(whole)):
        path.write_bytes(whole[:size])

        with pytest.raises(FormatError) as error:
            parse(path)

        if size < 8:
            expected = f"not a safetensors or .wpool file ({size} bytes)"
        else:
            needed = f"at least {data_byte}" if size < data_byte else len(whole)
            expected = (
                f"truncated: needs {needed} bytes, has {size}."
                " Download or copy it again"
            )
        assert expected == refusal(error, path)


def test_h20_rank_32_and_h21_sizes_of_zero(tmp_path: Path) -> None:
    """Rank 32, scalars and tensors without elements in any place are read."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(
        safetensors(
            [
                ("none", "F32", [0, 3], b""),
                ("scalar", "I64", [], bytes(8)),
                ("between", "F16", [3, 0], b""),
                ("deep", "U8", [1] * 32, b"\1"),
                ("last", "BOOL", [0], b""),
            ]
        )
    )
    found = parse(path)

    assert [("none", 0, 0), ("scalar", 0, 8), ("between", 8, 8)] == [
        (e.name, e.begin_byte, e.end_byte) for e in found.entries[:3]
    ]
    assert (1,) * 32 == found.entries[3].shape
    assert [0, 1, 0, 1, 0] == [e.numel for e in found.entries]


def test_h19_the_largest_shape_without_elements(tmp_path: Path) -> None:
    """A size of zero makes room for no more than the other sizes could hold."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors([("w", "F32", [0, 2**62], b"")]))

    assert (0, 2**62) == parse(path).entries[0].shape


def test_h21_order_in_the_header_does_not_matter(tmp_path: Path) -> None:
    """Tensors are put in the order of their places, empty ones before what follows."""
    entries = {
        "last": {"dtype": "U8", "shape": [0], "data_offsets": [8, 8]},
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "none": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
    }
    path = tmp_path / "x.safetensors"
    path.write_bytes(raw_file(json.dumps(entries).encode(), bytes(8)))

    assert ["none", "w", "last"] == [e.name for e in parse(path).entries]


def test_h24_bools(tmp_path: Path) -> None:
    """A BOOL that is neither 0 nor 1 is refused when it is read, with its place."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(safetensors([("m", "BOOL", [4], b"\0\1\1\2")]))
    fd = header.open_regular(path)
    found = header.read_header(fd, str(path))
    (entry,) = found.entries

    with pytest.raises(FormatError) as error:
        header.read_raw(fd, found, entry, 1, 4, str(path))

    assert "tensor 'm': element 3 is the BOOL 2, neither 0 nor 1" == refusal(
        error, path
    )
    assert [True, True] == header.read_raw(fd, found, entry, 1, 3, str(path)).tolist()
    os.close(fd)


def test_h25_names_are_shown_escaped(tmp_path: Path) -> None:
    """A legal name that would turn the terminal's text round is shown escaped."""
    path = tmp_path / "x.safetensors"
    path.write_bytes(one_tensor(fields(shape="[9]"), name="gnp‮"))

    with pytest.raises(FormatError) as error:
        parse(path)

    assert refusal(error, path).startswith(r"tensor 'gnp\u202e': F32 of shape [9]")


def test_golden_header() -> None:
    """The bytes of a header: length, sorted metadata, tensors as given, spaces."""
    entries = [
        Entry("b", BY_CODE["BF16"], (2, 1), 0, 4),
        Entry("α", BY_CODE["U8"], (), 4, 5),
    ]
    made = header.build_header({"z": "1", "a": 'q"'}, entries, 64)

    assert made == (
        b"\xb8\x00\x00\x00\x00\x00\x00\x00"
        rb'{"__metadata__":{"a":"q\"","z":"1"},'
        rb'"b":{"dtype":"BF16","shape":[2,1],"data_offsets":[0,4]},'
        rb'"\u03b1":{"dtype":"U8","shape":[],"data_offsets":[4,5]}}' + b" " * 36
    )
    assert 192 == len(made)


def test_header_too_large_to_write() -> None:
    """A header that no reader would take is not written."""
    with pytest.raises(FormatError) as error:
        header.build_header({"k": "x" * 100_000_000}, [])

    assert (
        "the header would take 100000032 bytes; safetensors allows 100000000. Use fewer"
        " tensors or fewer slices" == str(error.value)
    )


def test_the_largest_header_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts what follows the length, and may be met."""
    monkeypatch.setattr(header, "FORMAT_LIMIT", 24)

    assert 32 == len(header.build_header({}, [], 32))
    with pytest.raises(FormatError, match="would take 32 bytes"):
        header.build_header({}, [], 40)


_names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@st.composite
def _files(draw: st.DrawFn) -> tuple[dict[str, str], list[Entry]]:
    """Metadata and tensors that tile a data section."""
    names = draw(st.lists(_names, max_size=4, unique=True))
    entries, at_byte = [], 0
    for name in names:
        dtype = draw(st.sampled_from(list(BY_CODE.values())))
        shape = tuple(draw(st.lists(st.integers(0, 3), max_size=4)))
        end = at_byte + int(np.prod(shape, dtype=int)) * dtype.itemsize
        entries.append(Entry(name, dtype, shape, at_byte, end))
        at_byte = end
    return draw(st.dictionaries(_names, _names, max_size=3)), entries


@given(_files(), st.sampled_from([8, 64, 4096]))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    file: tuple[dict[str, str], list[Entry]],
    alignment: int,
) -> None:
    """What is written is read back, and safetensors reads the same."""
    metadata, entries = file
    nbytes = entries[-1].end_byte if entries else 0
    data = (b"\1\0" * nbytes)[:nbytes]
    path = tmp_path_factory.mktemp("round") / "x.safetensors"
    path.write_bytes(header.build_header(metadata, entries, alignment) + data)
    found = parse(path)

    assert (metadata, tuple(entries)) == (found.metadata, found.entries)
    assert 0 == found.data_byte % alignment
    with safe_open(path, "np") as peer:
        assert {e.name for e in entries} == set(peer.keys())
        for entry in entries:
            piece = peer.get_slice(entry.name)
            assert (entry.dtype.code, list(entry.shape)) == (
                piece.get_dtype(),
                piece.get_shape(),
            )


@given(st.data())
def test_nothing_is_accepted_that_safetensors_refuses(data: st.DataObject) -> None:
    """However a file is damaged, wpack is at least as strict as safetensors."""
    blob = bytearray(
        safetensors(
            [("a", "F32", [1, 2], bytes(8)), ("b", "U8", [4], bytes(4))], {"k": "v"}
        )
    )
    for _ in range(data.draw(st.integers(1, 2))):
        at = data.draw(st.integers(0, len(blob) - 1))
        likely = st.sampled_from(b'0129-.,:[]{}"')
        blob[at] = data.draw(st.one_of(likely, st.integers(0, 255)))
    with tempfile.TemporaryFile() as file:
        file.write(blob)
        file.flush()
        try:
            header.read_header(file.fileno(), "damaged")
        except FormatError:
            return
    try:
        deserialize(bytes(blob))
    except SafetensorError as refused:
        pytest.fail(f"accepted, but safetensors says {refused}: {bytes(blob)!r}")
