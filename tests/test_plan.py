"""Plans: their JSON round-trips, and a stranger's is refused by rule and place."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.blobs import chain_of, needs
from tests.strategies import block_lists, poolable
from wpack import strict_json, techniques
from wpack.chain import PLAIN
from wpack.errors import FormatError
from wpack.plan import Plan, PoolPlan, TensorPlan, alignment_of
from wpack.plan_reader import read_plan
from wpack.table import Block
from wpack.tensors import BY_NAME, TensorInfo

Global = techniques.named("global")


#: Codecs in order, fields of each kind, as far as they are there.
chains = st.sampled_from(
    [
        chain
        for written in (
            "int: {bits: 4, block: 32}",
            "prune: 0.29, zstd: 3",
            "float16",
            "bfloat16",
        )
        if (chain := chain_of(written))
    ]
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """One pool, a kept tensor, an alias; any placement."""
    blocks = draw(block_lists())
    dtype = draw(poolable)
    placement = draw(st.sampled_from(["ring", "fold"]))
    table = Global(placement=placement).layout(blocks, draw(st.integers(1, 99)))
    pieces: dict[str, list] = {b.tensor: [] for b in blocks}
    for piece in table.slices:
        pieces[piece.tensor].append((0, piece))
    tensors = [
        TensorPlan(TensorInfo(b.tensor, dtype, b.shape), tuple(pieces[b.tensor]))
        for b in blocks
    ]
    tensors.append(TensorPlan(TensorInfo("bias", BY_NAME["int64"], ())))
    group_chains = draw(st.lists(chains, max_size=2))
    for index in range(len(group_chains)):
        for member in range(draw(st.integers(1, 2))):
            info = TensorInfo(f"kept{index}.{member}", draw(poolable), (2, 3))
            tensors.append(TensorPlan(info._replace(dtype=dtype), group=index))
    first = blocks[0]
    tensors.append(
        TensorPlan(TensorInfo("tied", dtype, first.shape, alias_of=first.tensor))
    )
    chain = draw(st.just(PLAIN) | chains)
    pool = PoolPlan("main", Global(placement=placement), dtype, table, chain)
    return Plan((pool,), tuple(tensors), 64, tuple(group_chains))


@given(plans())
def test_json_round_trips(plan: Plan) -> None:
    """What is read back is the same plan, and writes the same text."""
    again = read_plan(plan.to_json())

    assert plan == again
    assert plan.to_json() == again.to_json()


def test_json_by_hand() -> None:
    """The canonical text of a small plan, character by character."""
    block = Block("w", (2, 3), 0, 6, "")
    table = Global().layout([block], 4)
    info = TensorInfo("w", BY_NAME["float32"], (2, 3))
    plan = Plan(
        (PoolPlan("p", Global(), BY_NAME["bfloat16"], table),),
        (TensorPlan(info, ((0, table.slices[0]),)),),
        64,
    )

    assert plan.to_json() == (
        '{"alignment":64,"pools":[{"backing":4,"dtype":"BF16","name":"p","technique":'
        '{"name":"global"}}],"tensors":[{"dtype":"F32","name":"w","parts":[{"length":6,'
        '"numel":6,"pool":"p","start":0}],"shape":[2,3]}],"version":1}'
    )


@needs("prune, zstd, int")
def test_codecs_by_hand() -> None:
    """Codecs stand in a pool and in a group; what is no integer is text."""
    chain = chain_of("prune: 0.5, zstd")
    table = Global().layout([Block("w", (2, 3), 0, 6, "")], 6)
    float32 = BY_NAME["float32"]
    plan = Plan(
        (PoolPlan("p", Global(), float32, table, chain),),
        (
            TensorPlan(TensorInfo("w", float32, (2, 3)), ((0, table.slices[0]),)),
            TensorPlan(TensorInfo("b", float32, (2,)), group=0),
            TensorPlan(TensorInfo("c", float32, (3,)), group=0),
        ),
        64,
        (chain_of("int: 4"),),
    )

    assert plan.to_json() == (
        '{"alignment":64,"groups":[{"codecs":[{"bits":4,"name":"int"}]}],"pools":['
        '{"backing":6,"codecs":[{"name":"prune","share":"0.5"},{"name":"zstd"}],'
        '"dtype":"F32","name":"p","technique":{"name":"global"}}],"tensors":['
        '{"dtype":"F32","name":"w","parts":[{"length":6,"numel":6,"pool":"p","start":0}'
        '],"shape":[2,3]},{"dtype":"F32","group":0,"kept":true,"name":"b","shape":[2]},'
        '{"dtype":"F32","group":0,"kept":true,"name":"c","shape":[3]}],"version":1}'
    )
    (group,) = plan.groups
    assert (group.numel, group.nbytes, group.firsts) == (5, 20, {"b": 0, "c": 2})
    assert not plan.exact
    assert read_plan(plan.to_json()) == plan


@pytest.mark.parametrize(
    ("nbytes", "alignment"),
    [
        (0, 64),
        ((1 << 20) - 1, 64),
        (1 << 20, 4096),
        ((16 << 20) - 1, 4096),
        (16 << 20, 65536),
    ],
)
def test_alignment(nbytes: int, alignment: int) -> None:
    """64 bytes below 1 MiB, a page from there, 64 KiB from 16 MiB."""
    assert alignment == alignment_of(nbytes)


DOCUMENT: dict[str, Any] = {
    "version": 1,
    "alignment": 64,
    "pools": [
        {"name": "p", "dtype": "F32", "backing": 4, "technique": {"name": "global"}}
    ],
    "tensors": [
        {
            "name": "w",
            "dtype": "F32",
            "shape": [2, 3],
            "parts": [{"pool": "p", "start": 3, "length": 6, "numel": 6}],
        },
        {"name": "b", "dtype": "I64", "shape": [], "kept": True},
        {"name": "t", "dtype": "F32", "shape": [2, 3], "alias": "w"},
    ],
}
POOL, W, PART, T = (
    ("pools", 0),
    ("tensors", 0),
    ("tensors", 0, "parts", 0),
    ("tensors", 2),
)

# fmt: off
# ruff: noqa: E501
#: id, where in the document, new value (None: delete), message.
BROKEN = [
    ("S01-version-0", ("version",), 0, "plan: version 0 of the plan is not known, this wpack reads version 1. Upgrade wpack"),
    ("S01-version-text", ("version",), "1.9", "plan: version '1.9' of the plan is not known, this wpack reads version 1. Upgrade wpack"),
    ("S01-no-version", ("version",), None, "plan: lacks the key 'version'"),
    ("S01-unknown-key", ("evil",), 1, "plan: has the unknown key 'evil'"),
    ("alignment", ("alignment",), 100, "plan: alignment must be one of (64, 4096, 65536)"),
    ("pools-object", ("pools",), {}, "plan: pools must be a list, got {}"),
    ("S14-pool-dtype", (*POOL, "dtype"), "I64", "pool 'p': a pool cannot hold int64"),
    ("H22-dtype", (*POOL, "dtype"), "f32", "pool 'p': unknown dtype 'f32' (there are: "),
    ("S10-backing-0", (*POOL, "backing"), 0, "pool 'p': backing must be an integer from 1, got 0"),
    ("backing-true", (*POOL, "backing"), True, "pool 'p': backing must be an integer from 1, got True"),
    ("S12-technique", (*POOL, "technique"), {"name": "os.system"}, "pool 'p': unknown technique 'os.system' (there are: "),
    ("S12-option", (*POOL, "technique"), {"name": "global", "x": 1}, "pool 'p': technique global has no option 'x'"),
    ("S12-option-type", (*POOL, "technique"), {"name": "global", "order": 1}, "pool 'p': technique global option 'order' must be list, got 1"),
    ("S02-no-pool", (*PART, "pool"), "q", "tensor 'w': reads pool 'q', which is not there"),
    ("S03-start", (*PART, "start"), 4, "tensor 'w': starts at 4, but pool 'p' has 4 backing weights"),
    ("S03-negative", (*PART, "start"), -1, "tensor 'w': start must be an integer from 0, got -1"),
    ("S03-huge", (*PART, "start"), 1 << 63, "tensor 'w': start must be an integer from 0, got 9223372036854775808"),
    ("S04-length", (*PART, "length"), 5, "tensor 'w': reads 5 backing weights for 6 working weights; technique global reads one for each"),
    ("S04-zero", (*PART, "numel"), 0, "tensor 'w': numel must be an integer from 1, got 0"),
    ("S04-shape", (*W, "shape"), [2, 4], "tensor 'w': its parts make 6 working weights, its shape has 8"),
    ("H19-overflow", (*W, "shape"), [1 << 32] * 3, "tensor 'w': shape [4294967296, 4294967296, 4294967296] is too large"),
    ("H20-rank", (*W, "shape"), [1] * 33, "tensor 'w': shape [1, 1, 1"),
    ("H20-negative", (*W, "shape"), [-2, -3], "tensor 'w': shape must be an integer from 0, got -2"),
    ("no-parts", (*W, "parts"), [], "tensor 'w': its parts make 0 working weights, its shape has 6"),
    ("S05-both", (*W, "kept"), True, "tensor 'w': must have one of kept, alias, parts"),
    ("S05-twice", ("tensors", 1, "name"), "w", "tensor 'w': stands twice in the plan"),
    ("H26-reserved", ("tensors", 1, "name"), "pool/p", "tensor 'pool/p': names starting pool/, kept/ or __ are reserved"),
    ("kept-false", ("tensors", 1, "kept"), False, "tensor 'b': kept must be true"),
    ("S20-alias", (*T, "alias"), "nobody", "tensor 't': is an alias of 'nobody', no tensor"),
    ("S20-itself", (*T, "alias"), "t", "tensor 't': is an alias of 't', no tensor"),
    ("S20-shape", (*T, "shape"), [6], "tensor 't': is an alias of 'w', of another dtype or shape"),
    ("pooled-int", (*W, "dtype"), "I32", "tensor 'w': int32 cannot come from a pool"),
    ("name-empty", (*W, "name"), "", "plan: tensors: name must be a name, got ''"),
]
# fmt: on


def test_the_document_is_sound() -> None:
    """What the cases below break is accepted as it stands."""
    assert read_plan(json.dumps(DOCUMENT)).pools[0].working == 6


@pytest.mark.parametrize(
    ("path", "value", "message"), [c[1:] for c in BROKEN], ids=[c[0] for c in BROKEN]
)
def test_broken_plans_are_refused(path: tuple, value: object, message: str) -> None:
    """Each rule has its sentence, and names the tensor or pool."""
    document = copy.deepcopy(DOCUMENT)
    place = document
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    with pytest.raises(FormatError) as caught:
        read_plan(strict_json.dumps(document))

    assert str(caught.value).startswith(message)


def _in_groups(*tensors: dict[str, Any], groups: list[Any]) -> dict[str, Any]:
    """A document of kept tensors in groups."""
    kept = [{"shape": [2], "kept": True, "dtype": "F32", **t} for t in tensors]
    return {**DOCUMENT, "tensors": kept, "pools": [], "groups": groups}


GROUP = {"codecs": [{"name": "float16"}]}


@needs("float16")
@pytest.mark.parametrize(
    ("document", "message"),
    [
        (_in_groups(groups=[]), "plan: groups is an empty list"),
        (
            _in_groups({"name": "b", "group": 1}, groups=[GROUP]),
            "tensor 'b': is in group 1, which is not there",
        ),
        (
            _in_groups({"name": "b", "group": 0, "dtype": "I64"}, groups=[GROUP]),
            "tensor 'b': codecs cannot store int64",
        ),
        (
            _in_groups(
                {"name": "b", "group": 0},
                {"name": "c", "group": 0, "dtype": "F16"},
                groups=[GROUP],
            ),
            "tensor 'c': is float16, but group 0 holds float32",
        ),
        (
            _in_groups({"name": "b", "group": 0}, groups=[GROUP, GROUP]),
            "group 1: has no tensors",
        ),
    ],
)
def test_broken_groups_are_refused(document: dict[str, Any], message: str) -> None:
    """Each rule of groups has its sentence, and names the tensor or group."""
    with pytest.raises(FormatError) as caught:
        read_plan(json.dumps(document))

    assert str(caught.value) == message


def test_two_pools_of_one_name_are_refused() -> None:
    """A slice could not tell which it reads."""
    document = copy.deepcopy(DOCUMENT)
    document["pools"] *= 2
    with pytest.raises(FormatError) as caught:
        read_plan(json.dumps(document))

    assert str(caught.value) == "plan: two pools have the same name"


def test_no_json_is_refused() -> None:
    """The parser's refusal carries the place."""
    with pytest.raises(FormatError) as caught:
        read_plan("{")

    assert str(caught.value).startswith("plan: not JSON: ")


def test_sizes_of_a_pool() -> None:
    """N_w, N_b, N_h and bytes of one pool; bytes of all tensors, aliases once."""
    plan = read_plan(json.dumps(DOCUMENT))
    (pool,) = plan.pools

    assert (pool.backing, pool.working, pool.ratio, pool.nbytes) == (4, 6, 1.5, 16)
    assert plan.inflated_bytes == 24 + 8
    assert plan.aliases == {"t": "w"}
    assert [t.kind for t in plan.tensors] == ["pooled", "kept", "alias"]
