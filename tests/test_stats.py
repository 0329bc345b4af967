"""Every byte and every parameter is accounted for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.blobs import needs
from tests.handmade import CODED, EVERYTHING, write
from tests.strategies import block_lists, poolable
from wpack import arrangement, container, stages, techniques
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.residence import residence
from wpack.spec import parse
from wpack.stats import FileStats, of_checkpoint, of_container, of_plan
from wpack.table import Block
from wpack.tensors import BY_NAME, FLOAT32, DType, TensorInfo


def planned(infos: list[TensorInfo], ratio: float) -> Plan:
    """One pool over every matrix."""
    text = f'{{version: 1, pools: {{main: {{tensors: ["*"], ratio: {ratio!r}}}}}}}'
    return make_plan(parse(text), infos).plan


def stats_of(plan: Plan, file_bytes: int) -> FileStats:
    """Stats of a file of this plan."""
    return of_plan(plan, "x.wpool", file_bytes, residence(plan, backend="copy"))


@given(block_lists(), poolable, st.floats(1, 8), st.integers(0, 999))
def test_stored_bytes_add_up(
    blocks: list[Block], dtype: DType, ratio: float, header: int
) -> None:
    """Tensors, pools and header are the file, in both sums."""
    infos = [TensorInfo(b.tensor, dtype, b.shape) for b in blocks]
    infos.append(TensorInfo("bias", FLOAT32, (3,)))
    plan = planned(infos, ratio)
    file_bytes = plan.pools[0].nbytes + 12 + header
    found = stats_of(plan, file_bytes)
    kept = sum(t.stored_bytes for t in found.tensors if t.kind == "kept")

    assert found.header_bytes == header
    assert sum(t.stored_bytes for t in found.tensors) + header == file_bytes
    assert sum(p.stored_bytes for p in found.pools) + kept + header == file_bytes
    assert all(t.stored_bytes >= 0 for t in found.tensors)


def test_parameters_by_hand() -> None:
    """Aliases count once, running statistics and integers not at all."""
    infos = [
        TensorInfo("w", FLOAT32, (4, 16)),
        TensorInfo("tied", FLOAT32, (4, 16), alias_of="w"),
        TensorInfo("bn.weight", FLOAT32, (5,)),
        TensorInfo("bn.running_mean", FLOAT32, (5,)),
        TensorInfo("bn.num_batches_tracked", BY_NAME["int64"], ()),
    ]
    found = stats_of(planned(infos, 4), 1000)

    assert found.working_parameters == 64 + 5
    assert found.backing_parameters == 16
    assert found.kept_parameters == 5
    assert found.free_parameters == 21
    assert found.ratio == 69 / 21
    assert found.inflated_bytes == 4 * (64 + 5 + 5) + 8


def test_plain_checkpoints() -> None:
    """Every tensor is kept, the ratio is 1, an alias costs nothing."""
    infos = [
        TensorInfo("w", FLOAT32, (4, 4)),
        TensorInfo("tied", FLOAT32, (4, 4), alias_of="w"),
    ]
    found = of_checkpoint("m.pt", "torch", 100, infos)

    assert (found.ratio, found.working_parameters, found.header_bytes) == (1.0, 16, 36)
    assert [(t.kind, t.stored_bytes) for t in found.tensors] == [
        ("kept", 64),
        ("alias", 0),
    ]


def test_decompression_of_every_technique() -> None:
    """Each pool has its technique's own counts, and is zero-copy where that says so."""
    infos = [TensorInfo(f"{n}.weight", FLOAT32, (8, 9)) for n in techniques.names()]
    pools = ", ".join(
        f'{n}: {{technique: {n}, tensors: ["{n}.*"], ratio: 2}}'
        for n in techniques.names()
    )
    plan = make_plan(parse(f"{{version: 1, pools: {{{pools}}}}}"), infos).plan
    found = {pool.name: pool for pool in stats_of(plan, 10_000).pools}

    assert sorted(found) == techniques.names()
    for pool in plan.pools:
        stats, technique = found[pool.name], pool.technique

        assert stats.multiplications == technique.multiplications(pool.table)
        assert stats.random_accesses == technique.random_accesses(pool.table)
        assert stats.zero_copy is technique.zero_copy


@needs("int, zstd")
@pytest.mark.parametrize("told", ["", "{}", None])
def test_stored_bytes_of_coded_files(tmp_path: Path, told: str | None) -> None:
    """The file's own sizes, to the byte, in every sum; stages where it tells them."""
    path = tmp_path / "c.wpool"
    write(path, CODED)
    with container.read(path) as file:
        if told is not None:
            file.metadata[stages.KEY] = told
        found = of_container(file, residence(file.plan))
        stored = {name: file.entries[name].nbytes for name in file.coded}
    kept = sum(t.stored_bytes for t in found.tensors if t.kind == "kept")
    header = path.stat().st_size - sum(t.stored_bytes for t in found.tensors)
    by_pool = {pool.name: pool for pool in found.pools}

    assert found.file_bytes == path.stat().st_size
    assert found.header_bytes == header > 0
    assert sum(p.stored_bytes for p in found.pools) + kept + header == found.file_bytes
    assert by_pool["a"].stored_bytes == stored["pool/a"]
    assert [g.stored_bytes for g in found.groups] == [
        stored["kept/0"],
        stored["kept/1"],
    ]
    assert found.exact
    assert by_pool["a"].codecs == ("int", "zstd")
    assert (by_pool["b"].stages, by_pool["b"].decoded_bytes) == (None, 0)
    coded = [by_pool["a"], *found.groups]
    assert [c.stages is not None for c in coded] == [told is None] * 3
    for each in coded if told is None else ():
        assert [s.codec for s in each.stages] == ["", *each.codecs]
        assert each.stages[0].bytes == each.decoded_bytes
        assert each.stages[-1].bytes == each.stored_bytes
        assert 0 < each.entropy_bytes < each.decoded_bytes


@needs("int, zstd")
def test_coded_plans_are_bounds() -> None:
    """Before an entropy coder has seen the values, sizes are the most there can be."""
    most = sum(each.most_stored_bytes for each in arrangement.coded(CODED).values())
    most += sum(pool.nbytes for pool in CODED.pools if not pool.chain)
    found = stats_of(CODED, most + 99)

    assert not found.exact
    assert found.header_bytes == 99
    assert found.pools[0].stages is None
    assert stats_of(EVERYTHING, 999_999).exact


def test_json_has_the_normative_keys() -> None:
    """The keys that scripts rely on are there, by name."""
    found = stats_of(planned([TensorInfo("w", FLOAT32, (4, 16))], 4), 100).to_json()

    assert {
        "path", "format", "file_bytes", "header_bytes", "working_parameters",
        "free_parameters", "backing_parameters", "kept_parameters", "ratio",
        "inflated_bytes", "zero_copy_bytes", "copied_bytes", "pools", "tensors",
        "exact", "decoded_bytes", "groups",
    } <= found.keys()  # fmt: skip
    assert {
        "name", "technique", "dtype", "codecs", "backing", "working", "ratio",
        "stored_bytes", "tensors", "multiplications", "random_accesses", "zero_copy",
        "decoded_bytes", "stages", "entropy_bytes",
    } <= found["pools"][0].keys()  # fmt: skip
    assert {
        "name", "shape", "dtype", "kind", "parts", "stored_bytes", "zero_copy",
    } <= found["tensors"][0].keys()  # fmt: skip
    assert found["tensors"][0]["parts"][0] == {
        "pool": "main", "start": 0, "length": 64, "numel": 64,
    }  # fmt: skip
