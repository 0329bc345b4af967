"""The ``.wpool`` file: its bytes, its size, and what two readers make of it."""

from __future__ import annotations

import dataclasses
import mmap
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
from wpack.errors import FormatError, PlanError, UsageError
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

    assert {0: 64, 1: 4096, 16: 65536}[mebibytes] == alignment
    with container.read(tmp_path / "x.wpool") as found:
        assert 0 == found.header.data_byte % alignment
        assert 0 == found.at_byte(found.pool_entry("side")) % alignment
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
            "the name '__x' cannot be used: names starting pool/ or __ are the file"
            " format's own. Rename it in the checkpoint",
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

    with pytest.raises(FormatError, match="alignment must be one of"):
        write(tmp_path / "x.wpool", plan, ZEROS)

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
    found.close()
    found.close()
    with pytest.raises(ValueError, match="has been closed"):
        found.fileno()


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
