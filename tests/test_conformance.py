"""Which ``.wpool`` files are refused, with which words, and which are not."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.bad_plans import GOING_ROUND_NONE, REFUSED, with_plan
from tests.crafting import PLAN, POOL, STORED, Stored, plan_with, refusal, wpool
from wpack import conformance, container, techniques
from wpack.errors import FormatError
from wpack.table import Slice, SliceTable


def write(tmp_path: Path, blob: bytes) -> Path:
    """A file of these bytes."""
    path = tmp_path / "x.wpool"
    path.write_bytes(blob)
    return path


@pytest.mark.parametrize(("blob", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, blob: bytes, message: str) -> None:
    """A file that breaks a rule is refused in one line that says which."""
    path = write(tmp_path, blob)

    with pytest.raises(FormatError) as error:
        container.read(path)

    assert message == refusal(error, path)


def test_crafted_file_is_sound(tmp_path: Path) -> None:
    """The file that the refused ones differ from is accepted and verified."""
    with container.read(write(tmp_path, wpool(PLAN, STORED))) as found:
        assert [] == container.verify(found)
        assert ["w", "b", "t"] == [t.name for t in found.plan.tensors]
        assert {"t": "w"} == found.plan.aliases


def test_refused_files_are_closed(tmp_path: Path) -> None:
    """A refusal leaves no descriptor open."""
    path = write(tmp_path, with_plan(version=2))
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(FormatError):
            container.read(path)

    assert len(before) == len(os.listdir("/proc/self/fd"))


def test_s06_overlapping_slices(tmp_path: Path) -> None:
    """Two tensors that read the same backing weights are what the format is for."""
    again = {**PLAN["tensors"][0], "name": "w2"}
    plan = plan_with(tensors=[*PLAN["tensors"], again])

    with container.read(write(tmp_path, wpool(plan, STORED))) as found:
        assert 18 == found.plan.pools[0].working


def test_s08_thousands_of_laps(tmp_path: Path) -> None:
    """A slice that goes round its pool 5000 times is a plan like any other; how it is
    loaded is the loader's choice."""
    part = {"pool": "main", "start": 1, "length": 80_000, "numel": 80_000}
    tensor = {"name": "w", "dtype": "F32", "shape": [80_000], "parts": [part]}
    plan = plan_with(tensors=[tensor])

    with container.read(write(tmp_path, wpool(plan, [POOL]))) as found:
        assert 80_001 == found.plan.pools[0].table.extent


def test_s09_working_size_bomb(tmp_path: Path) -> None:
    """A file of a kilobyte that claims terabytes is refused before anything is
    allocated, unless the user allows it."""
    part = {"pool": "main", "start": 0, "length": 10**15, "numel": 10**15}
    tensor = {"name": "w", "dtype": "F32", "shape": [10**15], "parts": [part]}
    path = write(tmp_path, wpool(plan_with(tensors=[tensor]), [POOL]))

    with pytest.raises(FormatError) as error:
        container.read(path, max_working_bytes=10**9)

    assert (
        "its working weights take 4000000000000000 bytes; the limit is 1000000000. If"
        " you trust the file, give --max-working-bytes 4000000000000000"
        == refusal(error, path)
    )
    with pytest.raises(FormatError, match="give --max-working-bytes"):
        container.read(path)
    with container.read(path, max_working_bytes=4 * 10**15) as found:
        assert 10**15 == found.plan.pools[0].working


def test_s10_pool_that_is_no_multiple_of_a_page(tmp_path: Path) -> None:
    """A wrapping pool of any length is accepted; only its map will be a copy."""
    plan = plan_with(pools__0__backing=15)
    pool: Stored = ("pool/main", "F32", [15], bytes(60))
    pad: Stored = ("__pad__.0", "U8", [4], bytes(4))

    with container.read(write(tmp_path, wpool(plan, [pool, pad, STORED[1]]))) as found:
        assert [] == container.verify(found)
        assert 15 == found.plan.pools[0].backing


def test_s12_slices_that_a_technique_cannot_expand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each slice of a technique that computes is put before it; its words are told
    with the part's name."""

    def objection(self: object, table: SliceTable, piece: Slice) -> str:
        return "too odd" if piece.length == 5 and table.working == 9 else ""

    monkeypatch.setattr(techniques.named(GOING_ROUND_NONE), "objection", objection)
    parts = [
        {"pool": "main", "start": 0, "length": length, "numel": length, "part": part}
        for part, length in (("q", 4), ("k", 5))
    ]
    pools = [
        {**PLAN["pools"][0], "name": "other"},
        {**PLAN["pools"][0], "technique": {"name": GOING_ROUND_NONE}},
    ]
    plan = plan_with(pools=pools, tensors__0__parts=parts)
    other: Stored = ("pool/other", "F32", [16], bytes(64))
    path = write(tmp_path, wpool(plan, [other, *STORED]))

    with pytest.raises(FormatError) as error:
        container.read(path)

    assert f"tensor 'w#k': technique {GOING_ROUND_NONE}: too odd" == refusal(
        error, path
    )


def test_s14_cast(tmp_path: Path) -> None:
    """A tensor of another floating dtype than its pool's is converted, by the plan."""
    with container.read(write(tmp_path, with_two_dtypes())) as found:
        assert ["float16", "float32"] == [
            found.plan.tensors[0].info.dtype.name,
            found.plan.pools[0].dtype.name,
        ]


def with_two_dtypes() -> bytes:
    """A file whose F16 tensor reads an F32 pool."""
    return with_plan(tensors__0__dtype="F16", tensors__2__dtype="F16")


def test_s17_without_checksums(tmp_path: Path) -> None:
    """A file without checksums is read with a warning and fails verification."""
    path = write(tmp_path, wpool(PLAN, STORED, {"wpool.sha256": None}))

    message = f"^{re.escape(str(path))}: the file holds no checksums$"
    with pytest.warns(UserWarning, match=message):
        found = container.read(path)

    with found:
        assert ["the file holds no checksums"] == container.verify(found)
        assert {} == found.sha256


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (
            (POOL, ("b", "F32", [2], b"\0\0\0\0\0\0\0\1")),
            "tensor 'b': damaged: its SHA-256 is cd2662154e6d76b2…, the header says"
            " af5570f5a1810b7a…",
        ),
        (
            (POOL, ("__pad__.0", "U8", [8], b"\0\0\0PK\0\0\0"), STORED[1]),
            "tensor '__pad__.0': 2 bytes of padding are not zero",
        ),
    ],
)
def test_s17_verify(tmp_path: Path, stored: list[Stored], problem: str) -> None:
    """Damaged data opens, for opening does not read it, and fails verification."""
    zeros = [(name, code, shape, bytes(len(raw))) for name, code, shape, raw in stored]
    blob = wpool(PLAN, zeros)
    data = b"".join(raw for *_, raw in stored)
    path = write(tmp_path, blob[: -len(data)] + data)

    with container.read(path) as found:
        assert [problem] == container.verify(found)


def test_h24_bools(tmp_path: Path) -> None:
    """BOOLs that are neither 0 nor 1 fail verification, though the checksum fits."""
    kept = {"name": "b", "dtype": "BOOL", "shape": [4], "kept": True}
    plan = plan_with(tensors__1=kept)
    path = write(tmp_path, wpool(plan, [POOL, ("b", "BOOL", [4], b"\0\2\3\1")]))

    with container.read(path) as found:
        assert ["tensor 'b': 2 BOOLs are neither 0 nor 1"] == container.verify(found)
        with pytest.raises(FormatError, match="element 1 is the BOOL 2"):
            found.read_range(found.entries["b"], 0, 3)


def test_s17_large_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor is read chunk after chunk, and all of them count."""
    monkeypatch.setattr(conformance, "_CHUNK", 5)
    kept = {"name": "b", "dtype": "BOOL", "shape": [12], "kept": True}
    values = b"\1\2\0\0\1\0\3\0\0\0\1\4"
    blob = wpool(plan_with(tensors__1=kept), [POOL, ("b", "BOOL", [12], values)])

    with container.read(write(tmp_path, blob)) as found:
        assert ["tensor 'b': 3 BOOLs are neither 0 nor 1"] == container.verify(found)


def test_s18_nothing_at_all(tmp_path: Path) -> None:
    """A plan without pools, and one without tensors, are plans."""
    for pools in ([], PLAN["pools"]):
        plan = plan_with(pools=pools, tensors=[])
        stored = [POOL] if pools else []

        with container.read(write(tmp_path, wpool(plan, stored))) as found:
            assert len(pools) == len(found.plan.pools)
            assert () == found.plan.tensors
            assert [] == container.verify(found)


def test_s18_many_pools_and_slices(tmp_path: Path) -> None:
    """The work is linear: 2000 pools and 20,000 slices take a moment."""
    pools = [{**PLAN["pools"][0], "name": f"p{i}"} for i in range(2000)]
    parts = [
        {"pool": f"p{i % 2000}", "start": i % 16, "length": 2, "numel": 2}
        for i in range(20_000)
    ]
    tensor = {"name": "w", "dtype": "F32", "shape": [20_000, 2], "parts": parts}
    stored: list[Stored] = [(f"pool/p{i}", "F32", [16], bytes(64)) for i in range(2000)]
    path = write(tmp_path, wpool(plan_with(pools=pools, tensors=[tensor]), stored))

    with container.read(path) as found:
        assert 40_000 == sum(pool.working for pool in found.plan.pools)


def test_other_metadata(tmp_path: Path) -> None:
    """Keys for information, and keys that are not the format's, are let be."""
    extra = {"wpool.info.accuracy": "0.9", "licence": "any", "wpool.spec": "version: 1"}

    with container.read(write(tmp_path, wpool(PLAN, STORED, extra))) as found:
        assert "0.9" == found.metadata["wpool.info.accuracy"]
        assert "version: 1" == found.spec_text
