"""``.wpool`` files that must be refused, by the number of the fault, and the words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tests.crafting import (
    BIAS,
    PLAN,
    POOL,
    STORED,
    Stored,
    plan_with,
    safetensors,
    wpool,
)
from wpack import techniques

SUM = {name: "0" * 64 for name in ("__header__", "b", "pool/main")}


def with_plan(**changes: Any) -> bytes:
    """A file whose plan is PLAN with changes."""
    return wpool(plan_with(**changes), STORED)


def with_part(**changes: Any) -> bytes:
    """A file whose only part has changes."""
    return with_plan(**{f"tensors__0__parts__0__{k}": v for k, v in changes.items()})


def with_metadata(changes: Mapping[str, str | None]) -> bytes:
    """A file whose metadata has changes."""
    return wpool(PLAN, STORED, changes)


def storing(*stored: Stored, **changes: Any) -> bytes:
    """A file that stores other tensors."""
    return wpool(plan_with(**changes), stored)


def with_sums(sums: Mapping[str, object] | Sequence[str]) -> bytes:
    """A file with other checksums."""
    return with_metadata({"wpool.sha256": json.dumps(sums)})


_UPGRADE = "of the format; this wpack reads version 1. Upgrade wpack"
_W = "tensor 'w'"
#: A technique that computes its weights, and reads no pool twice round.
GOING_ROUND_NONE = next(
    name for name in techniques.names() if not techniques.named(name).zero_copy
)

REFUSED = {
    "no format": (
        safetensors([BIAS]),
        "a safetensors file, but no .wpool: its format is none, not 'wpool'. `wpack"
        " compress` makes a .wpool of a checkpoint",
    ),
    "another format": (
        with_metadata({"format": "pt"}),
        "a safetensors file, but no .wpool: its format is 'pt', not 'wpool'. `wpack"
        " compress` makes a .wpool of a checkpoint",
    ),
    "S01 no version": (
        with_metadata({"wpool.version": None}),
        f"written for version '' {_UPGRADE}",
    ),
    "S01 version 0": (
        with_metadata({"wpool.version": "0"}),
        f"written for version '0' {_UPGRADE}",
    ),
    "S01 version 2": (
        with_metadata({"wpool.version": "2"}),
        f"written for version '2' {_UPGRADE}",
    ),
    "S01 version 1.9": (
        with_metadata({"wpool.version": "1.9"}),
        f"written for version '1.9' {_UPGRADE}",
    ),
    "S01 no plan": (
        with_metadata({"wpool.plan": None}),
        "__metadata__: there is no wpool.plan",
    ),
    "S01 plan not JSON": (
        wpool("{nope", STORED),
        "plan: not JSON: Expecting property name enclosed in double quotes at"
        " character 1",
    ),
    "S01 plan a list": (
        wpool("[]", STORED),
        "plan: the entry must be an object, got []",
    ),
    "S01 plan nested deeply": (
        wpool("[" * 3000 + "]" * 3000, STORED),
        "plan: not JSON: nested too deeply",
    ),
    "S01 plan of version 2": (
        with_plan(version=2),
        "plan: version 2 of the plan is not known, this wpack reads version 1."
        " Upgrade wpack",
    ),
    "S01 unknown key": (
        with_metadata({"wpool.codec": "zstd"}),
        "__metadata__: unknown key 'wpool.codec'",
    ),
    "S01 key that is not quite for information": (
        with_metadata({"wpool.information": "x"}),
        "__metadata__: unknown key 'wpool.information'",
    ),
    "S01 unknown key of the plan": (
        with_plan(order=[]),
        "plan: has the unknown key 'order'",
    ),
    "H10 duplicate key in the plan": (
        wpool('{"version":1,"version":1}', STORED),
        "plan: the key 'version' stands twice in one object",
    ),
    "H12 number in the plan": (
        with_part(start=1.0),
        "plan: the number 1.0 is not an integer",
    ),
    "S02 absent pool": (
        with_part(pool="side"),
        f"{_W}: reads pool 'side', which is not there",
    ),
    "S02 kept tensor as a pool": (
        with_part(pool="b"),
        f"{_W}: reads pool 'b', which is not there",
    ),
    "S03 start at the end": (
        with_part(start=16),
        f"{_W}: starts at 16, but pool 'main' has 16 backing weights",
    ),
    "S03 negative": (
        with_part(start=-1),
        f"{_W}: start must be an integer from 0, got -1",
    ),
    "S03 2^63": (
        with_part(start=2**63),
        f"{_W}: start must be an integer from 0, got 9223372036854775808",
    ),
    "S03 true": (
        with_part(start=True),
        f"{_W}: start must be an integer from 0, got True",
    ),
    "S04 length": (
        with_part(length=8),
        f"{_W}: reads 8 backing weights for 9 working weights; technique global reads"
        " one for each",
    ),
    "S04 numel": (
        with_part(length=8, numel=8),
        f"{_W}: its parts make 8 working weights, its shape has 9",
    ),
    "S04 length 0": (
        with_part(length=0, numel=0),
        f"{_W}: numel must be an integer from 1, got 0",
    ),
    "S04 no parts": (
        with_plan(tensors__0__parts=[]),
        f"{_W}: its parts make 0 working weights, its shape has 9",
    ),
    "S04 laps of what goes round none": (
        with_plan(
            pools__0__technique={"name": GOING_ROUND_NONE},
            tensors__0__parts__0__length=17,
        ),
        f"{_W}: reads 17 backing weights, but pool 'main' has 16; technique"
        f" {GOING_ROUND_NONE} does not go round",
    ),
    "S05 twice in the plan": (
        with_plan(tensors__2=PLAN["tensors"][0]),
        f"{_W}: stands twice in the plan",
    ),
    "S05 two kinds": (
        with_plan(tensors__0__kept=True),
        f"{_W}: must have one of kept, alias, parts",
    ),
    "S05 also stored": (
        storing(POOL, BIAS, ("w", "F32", [3, 3], bytes(36))),
        f"{_W}: is stored, but it is made from pools in the plan",
    ),
    "S05 alias also stored": (
        storing(POOL, BIAS, ("t", "F32", [3, 3], bytes(36))),
        "tensor 't': is stored, but it is an alias in the plan",
    ),
    "S14 pool of integers": (
        with_plan(pools__0__dtype="I32"),
        "pool 'main': a pool cannot hold int32",
    ),
    "S14 working integers": (
        with_plan(tensors__0__dtype="I32"),
        f"{_W}: int32 cannot come from a pool",
    ),
    "S14 pool stored in another dtype": (
        storing(("pool/main", "F16", [16], bytes(32)), BIAS),
        "tensor 'pool/main': stored as F16 [16], but the plan says F32 [16]",
    ),
    "S14 kept in another dtype": (
        storing(POOL, ("b", "F16", [2], bytes(4))),
        "tensor 'b': stored as F16 [2], but the plan says F32 [2]",
    ),
    "pool of another size": (
        storing(("pool/main", "F32", [32], bytes(128)), BIAS),
        "tensor 'pool/main': stored as F32 [32], but the plan says F32 [16]",
    ),
    "kept of another shape": (
        storing(POOL, ("b", "F32", [1, 2], bytes(8))),
        "tensor 'b': stored as F32 [1, 2], but the plan says F32 [2]",
    ),
    "pool missing": (
        storing(BIAS),
        "tensor 'pool/main': is in the plan but not stored",
    ),
    "all missing": (
        storing(),
        "tensor 'pool/main': is in the plan but not stored (and 1 more)",
    ),
    "more than the plan": (
        storing(POOL, BIAS, ("x", "U8", [1], b"\0")),
        "tensor 'x': is stored, but the plan does not mention it",
    ),
    "a pool more": (
        storing(POOL, ("pool/side", "F32", [16], bytes(64)), BIAS),
        "tensor 'pool/side': is stored, but the plan does not mention it",
    ),
    "H26 reserved name": (
        storing(POOL, ("__x", "F32", [2], bytes(8)), tensors__1__name="__x"),
        "tensor '__x': names starting pool/, kept/ or __ are reserved",
    ),
    "H26 pool's name": (
        with_plan(tensors__1__name="pool/main"),
        "tensor 'pool/main': names starting pool/, kept/ or __ are reserved",
    ),
    "H26 two pools of one name": (
        with_plan(pools=PLAN["pools"] * 2),
        "plan: two pools have the same name",
    ),
    "H25 control in a pooled name": (
        with_plan(tensors__2=None, tensors__0__name="w\x1b[31m"),
        r"plan: the tensor name 'w\x1b[31m' holds a control character",
    ),
    "H25 control in a part's name": (
        with_part(part="q\n"),
        r"plan: the tensor name 'q\n' holds a control character",
    ),
    "padding that is no padding": (
        storing(POOL, ("__pad__.0", "F32", [1], bytes(4)), BIAS),
        "tensor '__pad__.0': no padding: U8, below 65536 bytes",
    ),
    "padding that hides a file": (
        storing(POOL, ("__pad__.0", "U8", [65536], bytes(65536)), BIAS),
        "tensor '__pad__.0': no padding: U8, below 65536 bytes",
    ),
    "padding without a number": (
        storing(POOL, ("__pad__.00", "U8", [8], bytes(8)), BIAS),
        "tensor '__pad__.00': is stored, but the plan does not mention it",
    ),
    "S10 data misaligned": (
        wpool(PLAN, STORED, {"wpool.info.x": "-" * 30}, alignment=1),
        "the data section starts at byte 956, no multiple of the plan's alignment 64",
    ),
    "S10 pool misaligned": (
        storing(("__pad__.0", "U8", [8], bytes(8)), POOL, BIAS),
        "tensor 'pool/main': starts at byte 8 of the data, no multiple of 64",
    ),
    "kept misaligned": (
        storing(POOL, ("__pad__.0", "U8", [2], bytes(2)), BIAS),
        "tensor 'b': starts at byte 66 of the data, no multiple of 4",
    ),
    "pool after kept": (
        storing(BIAS, ("__pad__.0", "U8", [56], bytes(56)), POOL),
        "tensor 'pool/main': stands after tensor 'b'; pools come first",
    ),
    "unknown alignment": (
        with_plan(alignment=128),
        "plan: alignment must be one of (64, 4096, 65536)",
    ),
    "S20 alias of nothing": (
        with_plan(tensors__2__alias="x"),
        "tensor 't': is an alias of 'x', no tensor",
    ),
    "S20 alias of an alias": (
        with_plan(tensors__2__alias="t"),
        "tensor 't': is an alias of 't', no tensor",
    ),
    "S20 alias of another shape": (
        with_plan(tensors__2__alias="b"),
        "tensor 't': is an alias of 'b', of another dtype or shape",
    ),
    "S17 checksums not JSON": (
        with_metadata({"wpool.sha256": "{"}),
        "wpool.sha256: not JSON: Expecting property name enclosed in double quotes at"
        " character 1",
    ),
    "S17 checksum missing": (
        with_sums({"__header__": "0" * 64, "b": "0" * 64}),
        "wpool.sha256: lacks the key 'pool/main'",
    ),
    "S17 checksum of nothing": (
        with_sums({**SUM, "w": "0" * 64}),
        "wpool.sha256: has the unknown key 'w'",
    ),
    "S17 unknown algorithm": (
        with_sums({**SUM, "b": "md5:" + "0" * 32}),
        "wpool.sha256: the checksum of 'b' is no SHA-256: 64 hexadecimal digits, lower"
        " case",
    ),
    **{
        f"S17 {name}": (
            with_sums({**SUM, "b": digest}),
            "wpool.sha256: the checksum of 'b' is no SHA-256: 64 hexadecimal digits,"
            " lower case",
        )
        for name, digest in (
            ("short checksum", "0" * 63),
            ("checksum in capitals", "A" * 64),
        )
    },
    "S17 wrong header": (
        with_sums({**SUM, "__header__": "1" * 64}),
        "its header is damaged: it has another SHA-256 than it says. Download or copy"
        " it again",
    ),
}
