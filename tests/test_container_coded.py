"""Coded pools and groups in a ``.wpool``: sizes, places, what is read back."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blobs import chain_of, chains, needs
from tests.crafting import refusal, wpool
from tests.handmade import coded, kept, plan_of, pooled, write_stored
from wpack import arrangement, container, stages
from wpack.chain import Chain, Encoded
from wpack.errors import FormatError
from wpack.plan import Plan
from wpack.tensors import BY_CODE, BY_NAME

SOURCE = container.Source("0" * 64, 1)
SPEC = "# Longer than what the alignment of a header could hide, if it were left out.\n"
INT4, PACKED, ZSTD = map(chain_of, ("int: 4", "int: 4, zstd", "zstd"))
#: Those that are there.
CHAINS = [chain for chain in (INT4, PACKED, ZSTD) if chain]


def plan_with(pool: Chain, group: Chain | None = None, kept_numel: int = 3) -> Plan:
    """A pool of 99 weights, one of 40 as they are, kept tensors alone and together."""
    plan = plan_of(
        {"main": 99, "side": 40},
        pooled("w", (99,), ("main", 0)),
        pooled("v", (40,), ("side", 0)),
        kept("alone", (kept_numel,)),
        kept("mask", (3,), BY_NAME["bool"]),
        kept("one", (7,)),
        kept("two", (2, 3)),
        alignment=64,
    )
    groups = [(group, ("one", "two"))] if group else []
    return coded(plan, {"main": pool}, *groups)


def values_of(plan: Plan) -> dict[str, np.ndarray]:
    """Weights of everything."""
    random = np.random.default_rng(0)
    values = {t.name: random.standard_normal(t.info.numel) for t in plan.kept}
    values |= {f"pool/{p.name}": random.standard_normal(p.backing) for p in plan.pools}
    return {
        name: v.astype("?" if name == "mask" else "<f4") for name, v in values.items()
    }


@pytest.mark.parametrize("pool", chains("int: 4", "int: 4, zstd", "zstd"))
@pytest.mark.parametrize("group", [None, *chains("int: 4", "int: 4, zstd")])
def test_what_is_written_is_read(
    tmp_path: Path, pool: Chain, group: Chain | None
) -> None:
    """Values as they were decoded when they were written, and sizes that add up."""
    plan, path = plan_with(pool, group), tmp_path / "x.wpool"
    decoded = write_stored(path, plan, values_of(plan))

    with container.read(path) as file:
        assert container.verify(file) == []
        assert file.plan == plan
        for name, each in file.coded.items():
            out = np.empty(each.numel, each.dtype.raw)
            file.read_values(name, out)

            if name == "kept/0":
                halves = decoded["one"], decoded["two"]
                decoded[name] = np.concatenate(halves)
            assert out.tobytes() == decoded[name].tobytes()
            assert file.entries[name].dtype.code == "U8"
            assert file.entries[name].nbytes <= each.most_stored_bytes
        side = np.empty(40, "<f4")
        file.read_values("pool/side", side)
        assert side.tobytes() == decoded["pool/side"].tobytes()
        told = stages.loads(file.metadata[stages.KEY])
        assert {name: coding.stored_bytes for name, coding in told.items()} == {
            name: file.entries[name].nbytes for name in file.coded
        }


@needs("int")
def test_uncoded_pools_stand_first_and_groups_last() -> None:
    """What is mapped starts on the alignment; what is coded anywhere."""
    arranged = container.arrange(plan_with(INT4, INT4))
    names = [entry.name for entry in arranged.stored]
    main = next(e for e in arranged.entries if e.name == "pool/main")

    assert names == ["pool/side", "pool/main", "alone", "mask", "kept/0"]
    assert main.begin_byte == 160


@given(
    numel=st.integers(1, 300),
    kept_numel=st.integers(0, 3),
    seed=st.integers(0, 99),
    ends=st.sampled_from(CHAINS),
)
@settings(max_examples=60)
def test_no_file_is_larger_than_predicted(
    tmp_path_factory: pytest.TempPathFactory,
    numel: int,
    kept_numel: int,
    seed: int,
    ends: Chain,
) -> None:
    """To the byte where no entropy coder is asked, at most else, and to the byte once
    it has been."""
    path = tmp_path_factory.mktemp("size") / "x.wpool"
    plan = plan_of(
        {"a": numel, "b": 2 * numel},
        pooled("w", (numel,), ("a", 0)),
        pooled("v", (2 * numel,), ("b", 0)),
        kept("k", (kept_numel,)),
        alignment=64,
    )
    plan = coded(plan, {"a": ends, "b": ends})
    random = np.random.default_rng(seed)
    made: dict[str, Encoded] = {}
    for name, (chain, dtype, count) in arrangement.coded(plan).items():
        drawn = random.integers(-2, 3, count).astype("<f4")
        made[name] = chain.encode(drawn * random.integers(0, 2), dtype)
    zeros = [("k", [np.zeros(kept_numel, "<f4")])]
    container.write(path, plan, SPEC, SOURCE, zeros, coded=made, force=True)
    size = path.stat().st_size
    predicted = container.predicted_bytes(plan, SPEC, SOURCE)

    assert size == container.predicted_bytes(plan, SPEC, SOURCE, made)
    assert size <= predicted
    assert plan.exact == (not ends.entropy)
    if plan.exact:
        assert size == predicted


@needs("int, zstd")
@given(st.data())
@settings(max_examples=200)
def test_damage_is_refused_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever stands where codecs' bytes should, values come of it or one sentence
    that names the file and the pool."""
    folder = tmp_path_factory.mktemp("damage")
    plan, path = plan_with(data.draw(st.sampled_from([INT4, PACKED]))), folder / "x"
    write_stored(path, plan, values_of(plan))
    with container.read(path) as file:
        entry = file.pool_entry("main")
        begin = file.at_byte(entry)
    changed = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, entry.nbytes - 1))
        changed[begin + at] = data.draw(st.integers(0, 255))
    path.write_bytes(changed)
    with container.read(path) as file:
        said = f"{path}: tensor 'pool/main'"
        try:
            file.read_values("pool/main", np.empty(99, "<f4"))
        except FormatError as error:
            said = str(error)
    assert said.startswith(f"{path}: tensor 'pool/main'")


@needs("int")
def test_what_is_coded_must_be_given(tmp_path: Path) -> None:
    """All of it, and nothing else."""
    with pytest.raises(ValueError, match=r"^coded are \[\], not \['pool/main'\]$"):
        container.write(tmp_path / "x", plan_with(INT4), "", SOURCE, [])

    assert list(tmp_path.iterdir()) == []


@needs("int")
def test_verify_decodes(tmp_path: Path) -> None:
    """Damage that a checksum was made over is found as well, after the checksums."""
    plan, path = plan_with(INT4), tmp_path / "x.wpool"
    write_stored(path, plan, values_of(plan))
    with container.read(path) as file:
        at = file.at_byte(file.pool_entry("main"))
    changed = bytearray(path.read_bytes())
    changed[at + 8] = 1  # the first stream's form
    path.write_bytes(changed)

    with container.read(path) as file:
        problems = container.verify(file)
        with pytest.raises(FormatError) as error:
            file.read_values("pool/main", np.empty(99, "<f4"))

    assert problems[0].startswith("tensor 'pool/main': damaged: its SHA-256 is ")
    assert problems[1:] == [
        "tensor 'pool/main', stream 0: its form is 1, which is not known"
    ]
    assert problems[1:] == [refusal(error, path)]


def stored_as(entry: str, code: str, shape: list[int], chain: Chain) -> bytes:
    """A file of a coded pool and a group, of which one entry is stored in another way:
    all zeros."""
    plan = plan_with(chain, chain)
    held = [
        (
            each.name,
            code if each.name == entry else each.dtype.code,
            shape if each.name == entry else list(each.shape),
        )
        for each in arrangement.largest(plan).entries
    ]
    stored = [
        (name, of, dims, bytes(prod(dims) * BY_CODE[of].itemsize))
        for name, of, dims in held
    ]
    return wpool(plan.to_json(), stored)


@needs("int, zstd")
@pytest.mark.parametrize(
    ("entry", "code", "shape", "chain", "message"),
    [
        (
            *("kept/0", "F32", [2], INT4),
            "tensor 'kept/0': stored as F32 [2], but what codecs make is U8 of one"
            " dimension",
        ),
        (
            *("kept/0", "U8", [1, 2], INT4),
            "tensor 'kept/0': stored as U8 [1, 2], but what codecs make is U8 of one"
            " dimension",
        ),
        (
            *("kept/0", "U8", [1], INT4),
            "tensor 'kept/0': 1 bytes are stored, but int make exactly {} of 13 values",
        ),
        (
            *("kept/0", "U8", [999], INT4),
            "tensor 'kept/0': 999 bytes are stored, but int make exactly {} of 13"
            " values",
        ),
        (
            *("kept/0", "U8", [999], PACKED),
            "tensor 'kept/0': 999 bytes are stored, but int, zstd make at most {} of 13"
            " values",
        ),
    ],
)
def test_stored_as_codecs_cannot_have_made(
    tmp_path: Path,
    entry: str,
    code: str,
    shape: list[int],
    chain: Chain,
    message: str,
) -> None:
    """What is coded is bytes, as many as its codecs can make of the values."""
    path = tmp_path / "x.wpool"
    path.write_bytes(stored_as(entry, code, shape, chain))
    most = chain.bound(13, BY_CODE["F32"])
    with pytest.raises(FormatError) as error:
        container.read(path)

    assert refusal(error, path) == message.format(most)


@needs("int, zstd")
def test_an_entropy_coder_may_make_any_less(tmp_path: Path) -> None:
    """How much it makes only decoding can tell."""
    path = tmp_path / "x.wpool"
    path.write_bytes(stored_as("kept/0", "U8", [1], PACKED))

    with container.read(path) as file:
        assert file.entries["kept/0"].nbytes == 1


@needs("int")
def test_a_group_s_tensor_is_not_stored_alone(tmp_path: Path) -> None:
    """It has one place, and that is in its group."""
    plan, path = plan_with(INT4, INT4), tmp_path / "x.wpool"
    path.write_bytes(wpool(plan.to_json(), [("one", "F32", [7], bytes(28))]))
    with pytest.raises(FormatError) as error:
        container.read(path)

    expected = "tensor 'one': is stored, but it is in group 0 in the plan"
    assert expected == refusal(error, path)


@needs("int")
@pytest.mark.parametrize("less", [0, 1])
def test_decoded_values_count_for_the_limit(tmp_path: Path, less: int) -> None:
    """What a reader makes of coded pools and groups is memory beside the weights."""
    plan, path = plan_with(INT4, INT4), tmp_path / "x.wpool"
    write_stored(path, plan, values_of(plan))
    nbytes = 4 * (99 + 40) + 4 * (99 + 13)
    if not less:
        container.read(path, max_working_bytes=nbytes).close()
        return
    with pytest.raises(FormatError) as error:
        container.read(path, max_working_bytes=nbytes - less)

    assert refusal(error, path) == (
        f"its working weights and decoded values take {nbytes} bytes; the limit is"
        f" {nbytes - 1}. If you trust the file, give --max-working-bytes {nbytes}"
    )
