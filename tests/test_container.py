"""The ``.wpool`` file: its bytes, its size, and what two readers make of it."""

from __future__ import annotations

import dataclasses
import errno
import mmap
import os
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from safetensors import deserialize

from tests import independent_reader
from tests.crafting import PLAN, STORED, plan_with, refusal, wpool
from tests.pool_files import pool_files
from wpack import container, strict_json
from wpack.container import Source
from wpack.errors import FormatError, PlanError, StorageError, UsageError
from wpack.plan import Plan, alignment_of
from wpack.plan_reader import read_plan
from wpack.pool import working_blocks

SOURCE = Source("0" * 64, 1)


def plan_of(**changes: object) -> Plan:
    """The crafted plan with changes, as a plan."""
    return read_plan(strict_json.dumps(plan_with(**changes)))


def write(path: Path, plan: Plan, values: dict[str, np.ndarray]) -> None:
    """A file of a plan, each stored tensor in one block."""
    stored = ((e.name, [values[e.name]]) for e in container.arrange(plan).stored)
    container.write(path, plan, "", SOURCE, stored, force=True)


ZEROS = {"pool/main": np.zeros(16, "<f4"), "b": np.zeros(2, "<f4")}


@given(pool_files())
def test_two_readers_agree(
    tmp_path_factory: pytest.TempPathFactory,
    file: tuple[Plan, dict[str, np.ndarray]],
) -> None:
    """A file has the predicted size, verifies, is a safetensors file to safetensors,
    and the independent reader gets the working weights that wpack makes."""
    plan, values = file
    path = tmp_path_factory.mktemp("two") / "x.wpool"
    write(path, plan, values)
    blob = path.read_bytes()

    assert container.predicted_bytes(plan, "", SOURCE) == len(blob)
    peer = {name: bytes(entry["data"]) for name, entry in deserialize(blob)}
    found = independent_reader.load(path)
    with container.read(path) as opened:
        assert plan == opened.plan
        assert [] == container.verify(opened)
        stored = [e.nbytes for e in opened.entries.values() if e.name in values]
        assert len(blob) == sum(stored) + opened.header_bytes
        for name, value in values.items():
            entry = opened.entries[name]
            read = opened.read_range(entry, 0, entry.numel)
            assert value.tobytes() == read.tobytes() == peer[name]
    for tensor in plan.pooled:
        made = [
            block
            for pool, piece in tensor.pieces
            for block in working_blocks(
                plan.pools[pool],
                piece,
                values[f"pool/{plan.pools[pool].name}"],
                tensor.info.dtype,
            )
        ]
        assert np.concatenate(made).tobytes() == found[tensor.name].tobytes()
        assert tensor.info.shape == found[tensor.name].shape
    for tensor in plan.kept:
        assert values[tensor.name].tobytes() == found[tensor.name].tobytes()
    assert plan.aliases.keys() <= found.keys()


@pytest.mark.parametrize("mebibytes", [0, 1, 16])
def test_alignment(tmp_path: Path, mebibytes: int) -> None:
    """The data section and every pool start where the plan's alignment says, and only
    the space up to the next pool is padding."""
    backing = (mebibytes << 20) // 4 + 20
    alignment = alignment_of(4 * backing)
    pool = PLAN["pools"][0]
    pools = [{**pool, "backing": backing}, {**pool, "name": "side"}]
    plan = plan_of(alignment=alignment, pools=pools)
    values = {"main": np.zeros(backing, "<f4"), "side": np.zeros(16, "<f4")}
    zeros = {**ZEROS, **{f"pool/{name}": value for name, value in values.items()}}
    write(tmp_path / "x.wpool", plan, zeros)
    blob = (tmp_path / "x.wpool").read_bytes()

    assert {0: 64, 1: 4096, 16: 65536}[mebibytes] == alignment
    with container.read(tmp_path / "x.wpool") as found:
        assert 0 == found.header.data_byte % alignment
        assert 0 == found.at_byte(found.pool_entry("side")) % alignment
        assert len(blob) - 64 - 8 == found.at_byte(found.pool_entry("side"))
        pad = found.entries["__pad__.0"]
        assert (4 * backing, -4 * backing % alignment) == (pad.begin_byte, pad.nbytes)
        assert ["pool/main", "__pad__.0", "pool/side", "b"] == list(found.entries)


def test_kept_tensors_lie_on_their_elements() -> None:
    """Kept tensors stand widest first, in checkpoint order among equals."""
    kept = [
        {"name": code.lower(), "dtype": code, "shape": [3], "kept": True}
        for code in ("BOOL", "F16", "I64", "F32", "U8", "C64")
    ]
    plan = plan_of(pools=[], tensors=kept)

    assert ["i64", "c64", "f32", "f16", "bool", "u8"] == [
        e.name for e in container.arrange(plan).entries
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tensors__1__name": "a\nb"},
            r"the tensor name 'a\nb' holds a control character",
        ),
        (
            {"pools__0__name": "__x", "tensors__0__parts__0__pool": "__x"},
            "the name '__x' cannot be used: names starting pool/, kept/ or __ are the"
            " file format's own. Rename it in the checkpoint",
        ),
    ],
)
def test_h25_h26_names_that_cannot_be_written(
    changes: dict[str, object], message: str
) -> None:
    """A name that the reader would refuse is refused before anything is written."""
    with pytest.raises(PlanError) as error:
        container.arrange(plan_of(**changes))

    assert message == str(error.value)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ([], "pool/main is the next to store, got nothing"),
        ([("b", [ZEROS["b"]])], "pool/main is the next to store, got b"),
        (
            [("pool/main", [ZEROS["pool/main"][:9]])],
            "pool/main: 28 of 64 bytes are missing",
        ),
        (
            [("pool/main", [np.zeros(17, "<f4")])],
            "pool/main: more than 64 bytes",
        ),
        (
            [("pool/main", [np.zeros(8, "<f8")])],
            "pool/main: <f4 expected, got float64",
        ),
    ],
)
def test_stored_is_not_what_the_plan_says(
    tmp_path: Path, stored: list[tuple[str, list[np.ndarray]]], message: str
) -> None:
    """Values in the wrong order, number or dtype make no file."""
    with pytest.raises(ValueError, match=f"^{message}$"):
        container.write(tmp_path / "x.wpool", plan_of(), "", SOURCE, stored)

    assert [] == list(tmp_path.iterdir())


def test_what_the_reader_would_refuse_is_not_written(tmp_path: Path) -> None:
    """A file is read back before it gets its name."""
    plan = dataclasses.replace(plan_of(), alignment=128)

    with pytest.raises(FormatError) as error:
        write(tmp_path / "x.wpool", plan, ZEROS)

    assert "plan: alignment must be one of (64, 4096, 65536)" == refusal(
        error, tmp_path / "x.wpool"
    )
    assert [] == list(tmp_path.iterdir())


def test_blocks_that_are_not_contiguous(tmp_path: Path) -> None:
    """A strided block is stored in the order of its elements."""
    values = np.arange(32, dtype="<f4")
    write(tmp_path / "x.wpool", plan_of(), {**ZEROS, "pool/main": values[::2]})

    with container.read(tmp_path / "x.wpool") as found:
        read = found.read_range(found.pool_entry("main"), 3, 6)
        assert [6, 8, 10] == read.tolist()


def test_w06_written_over_itself(tmp_path: Path) -> None:
    """A file can be made from itself: what is open or mapped stays as it was."""
    path = tmp_path / "x.wpool"
    write(path, plan_of(), {**ZEROS, "b": np.array([1, 2], "<f4")})
    with container.read(path) as old:
        view = mmap.mmap(old.fileno(), 0, prot=mmap.PROT_READ)
        before = view[:]
        kept = old.read_range(old.entries["b"], 0, 2)
        write(path, plan_of(), {**ZEROS, "b": kept * 2})

        assert before == view[:]
        assert [1, 2] == old.read_range(old.entries["b"], 0, 2).tolist()
    view.close()
    with container.read(path) as new:
        assert [2, 4] == new.read_range(new.entries["b"], 0, 2).tolist()


def test_w07_existing_file(tmp_path: Path) -> None:
    """An existing file is replaced only when asked to be."""
    path = tmp_path / "x.wpool"
    path.touch()
    with pytest.raises(UsageError) as error:
        container.write(path, plan_of(), "", SOURCE, [])

    assert "exists. --force replaces it" == refusal(error, path)


def test_descriptor_is_owned(tmp_path: Path) -> None:
    """A container has a descriptor of its own, which closing gives back."""
    path = tmp_path / "x.wpool"
    path.write_bytes(wpool(PLAN, STORED))
    with path.open("rb") as file:
        found = container.read(file.fileno())
    path.unlink()

    assert [0, 0] == found.read_range(found.entries["b"], 0, 2).tolist()
    assert found.path.startswith("descriptor ")
    found.close()
    found.close()
    with pytest.raises(ValueError, match=f"^{found.path} has been closed$"):
        found.fileno()


def test_descriptor_0(tmp_path: Path) -> None:
    """A process without stdin gets 0 for its first file: it is read, and closed."""
    path = tmp_path / "x.wpool"
    path.write_bytes(wpool(PLAN, STORED))
    stdin = os.dup(0)
    os.close(0)
    try:
        with container.read(path) as found:
            assert 0 == found.fileno()
            assert str(path) == found.path
            assert [0, 0] == found.read_range(found.entries["b"], 0, 2).tolist()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(0)
    finally:
        os.dup2(stdin, 0)
        os.close(stdin)


def test_what_a_file_was_made_from(tmp_path: Path) -> None:
    """The spec's text and the checkpoint's digest are read back as they were given."""
    plan, source = plan_of(), Source("ab" * 32, 99)
    stored = [(e.name, [ZEROS[e.name]]) for e in container.arrange(plan).stored]
    container.write(tmp_path / "x.wpool", plan, "version: 1 # é\n", source, stored)

    with container.read(tmp_path / "x.wpool") as found:
        assert "version: 1 # é\n" == found.spec_text
        assert source == found.source


def test_files_that_do_not_say_what_they_were_made_from(tmp_path: Path) -> None:
    """They are read; the source is refused when it is asked for."""
    path = tmp_path / "x.wpool"
    path.write_bytes(wpool(PLAN, STORED))
    with container.read(path) as found:
        assert "" == found.spec_text
        with pytest.raises(FormatError) as error:
            _ = found.source

    assert f"{path}: wpool.source: not JSON: Expecting value at character 0" == str(
        error.value
    )


def test_h17_cut_while_it_is_open(tmp_path: Path) -> None:
    """What a file has lost since it was opened is missed by its name."""
    path = tmp_path / "x.wpool"
    path.write_bytes(wpool(PLAN, STORED))
    size = path.stat().st_size
    with container.read(path) as found:
        os.truncate(path, size - 1)
        for read in (
            lambda: found.read_range(found.entries["b"], 0, 2),
            lambda: container.verify(found),
        ):
            with pytest.raises(FormatError) as error:
                read()

            assert (
                f"truncated: needs {size} bytes, has {size - 1}. Download or copy it"
                " again" == refusal(error, path)
            )


def test_source_has_no_name(tmp_path: Path) -> None:
    """The same checkpoint under another name gives the same bytes."""
    plan = plan_of()
    blobs = []
    for name in ("a.safetensors", "/home/me/b.safetensors"):
        path = tmp_path / "x.wpool"
        source = Source("12" * 32, 99, name)
        stored = ((e.name, [ZEROS[e.name]]) for e in container.arrange(plan).stored)
        container.write(path, plan, "", source, stored, force=True)
        blobs.append(path.read_bytes())

    assert blobs[0] == blobs[1]


@pytest.mark.parametrize("at", range(3))
def test_a_disk_that_fails_at_any_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """What the system refuses while a file is opened is told with the file's name."""
    path = tmp_path / "x.wpool"
    path.write_bytes(wpool(PLAN, STORED))
    reads, read = count(), os.preadv

    def failing(fd: int, buffers: list[memoryview], at_byte: int) -> int:
        if next(reads) == at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(fd, buffers, at_byte)

    with monkeypatch.context() as disk:
        disk.setattr(os, "preadv", failing)
        with pytest.raises(StorageError) as error:
            container.read(path)

    begin = (0, 8, 0)[at]
    assert f"cannot be read at byte {begin}: Input/output error" == refusal(error, path)
    assert at + 1 == next(reads)


def bomb(path: Path, numel: int) -> Path:
    """A small file that claims this many F32 weights."""
    part = {"pool": "main", "start": 0, "length": numel, "numel": numel}
    tensor = {"name": "w", "dtype": "F32", "shape": [numel], "parts": [part]}
    path.write_bytes(wpool(plan_with(tensors=[tensor]), STORED[:1]))
    return path


@pytest.mark.parametrize(
    ("memory", "limit"),
    [({"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 10}, 40_000), (None, 64 << 30)],
)
def test_s09_the_limit_follows_the_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: dict[str, int] | None,
    limit: int,
) -> None:
    """Four times the machine's, or as if it had 16 GiB where it does not tell."""
    fits = bomb(tmp_path / "fits.wpool", limit // 4)
    too_large = bomb(tmp_path / "too large.wpool", limit // 4 + 1)
    with monkeypatch.context() as machine:
        if memory is None:
            machine.delattr(os, "sysconf")
        else:
            machine.setattr(os, "sysconf", memory.__getitem__)
        container.read(fits).close()
        with pytest.raises(FormatError, match=f"the limit is {limit}[.]"):
            container.read(too_large)


def test_h05_the_largest_header_can_be_chosen(tmp_path: Path) -> None:
    """A refusal of the header names the file; a limit that it just meets does not."""
    path = tmp_path / "x.wpool"
    path.write_bytes(wpool(PLAN, STORED))
    with container.read(path) as found:
        length = found.header.data_byte - 8
    container.read(path, max_header=length).close()

    with pytest.raises(FormatError) as error:
        container.read(path, max_header=length - 1)

    assert (
        f"its header is {length} bytes; the limit is {length - 1}. If you trust the"
        f" file, give --max-header {length}" == refusal(error, path)
    )
