"""Plans of codecs and groups that there are not, or that cannot be: S15; and a pool of
a few bytes that claims petabytes: S09."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.crafting import Stored, coded, wpool
from tests.hostile.case import ALREADY, Case, needing, pool_case, written
from tests.hostile.coded import (
    BIAS,
    INT,
    READING,
    SOUND,
    TENSORS,
    UNIT,
    ZSTD,
    plan_of,
)
from tests.hostile.plans import limit
from wpack import codecs

#: Codecs without which there are no such cases.
NEEDED = ("int", "zstd")
_CODECS = ", ".join(codecs.names())


def _planned(folder: Path, chain: Any, message: str, **changes: Any) -> Case:
    """A plan of codecs that every command refuses."""
    data = wpool(plan_of(chain, **changes), [("pool/main", "U8", [1], b"x"), BIAS])
    return pool_case(folder, data, message)


def _chain(folder: Path, chain: Any, message: str) -> Case:
    return _planned(folder, chain, f"pool 'main': {message}")


def s15_unknown_codec(folder: Path) -> Case:
    says = f"unknown codec 'int8', did you mean 'int'? (there are: {_CODECS})"
    return _chain(folder, [{"name": "int8"}], says)


def s15_codec_that_is_a_path(folder: Path) -> Case:
    says = f"unknown codec '../evil' (there are: {_CODECS})"
    return _chain(folder, [{"name": "../evil"}], says)


def s15_codec_that_is_a_module(folder: Path) -> Case:
    """Modules beside the codecs are none."""
    says = f"unknown codec '_grid' (there are: {_CODECS})"
    return _chain(folder, [{"name": "_grid"}], says)


def s15_codec_without_a_name(folder: Path) -> Case:
    return _chain(folder, [{"bits": 4}], "codec name must be a name, got None")


def s15_codecs_that_are_a_name(folder: Path) -> Case:
    return _chain(folder, "int", "codecs must be a list, got 'int'")


def s15_codec_that_is_a_name(folder: Path) -> Case:
    return _chain(folder, ["int"], "a codec must be an object, got 'int'")


def s15_no_codecs(folder: Path) -> Case:
    return _chain(folder, [], "codecs is an empty list")


def s15_unknown_field(folder: Path) -> Case:
    says = "codec int has no option 'zero'"
    return _chain(folder, [{"name": "int", "zero": 0}], says)


def s15_bits_of_true(folder: Path) -> Case:
    says = "codec int option 'bits' must be int, got True"
    return _chain(folder, [{"name": "int", "bits": True}], says)


def s15_bits_of_9(folder: Path) -> Case:
    says = "codec int bits must be from 2 to 8, got 9"
    return _chain(folder, [{"name": "int", "bits": 9}], says)


@needing("prune")
def s15_share_of_nan(folder: Path) -> Case:
    says = "codec prune has the number 'nan', not as it is written"
    return _chain(folder, [{"name": "prune", "share": "nan"}], says)


@needing("prune")
def s15_share_spelt_otherwise(folder: Path) -> Case:
    says = "codec prune has the number '0.90', not as it is written"
    return _chain(folder, [{"name": "prune", "share": "0.90"}], says)


@needing("prune")
def s15_share_that_is_a_number(folder: Path) -> Case:
    """Numbers of a plan are integers, so that they have one meaning."""
    says = "plan: the number 0.5 is not an integer"
    return _planned(folder, [{"name": "prune", "share": 0.5}], says)


def s15_codecs_in_another_order(folder: Path) -> Case:
    return _chain(folder, [ZSTD, INT], "codecs: int must come before zstd")


def s15_two_codecs_of_a_kind(folder: Path) -> Case:
    says = "codecs: int and int do the same: a chain has one of them"
    return _chain(folder, [INT, INT], says)


def s15_codecs_of_a_kept_tensor(folder: Path) -> Case:
    """Those are a group's."""
    says = "tensor 'bias': has the unknown key 'codecs'"
    return _planned(folder, [INT], says, tensors__1__codecs=[INT])


def s15_codecs_of_an_alias(folder: Path) -> Case:
    tensor = {**TENSORS[0], "name": "w", "alias": "weight", "codecs": [INT]}
    del tensor["parts"]
    says = "tensor 'w': has the unknown key 'codecs'"
    return _planned(folder, [INT], says, tensors__1=tensor)


def s15_codecs_of_a_pooled_tensor(folder: Path) -> Case:
    says = "tensor 'weight': has the unknown key 'codecs'"
    return _planned(folder, [INT], says, tensors__0__codecs=[INT])


def _grouped(folder: Path, message: str, **changes: Any) -> Case:
    """A group of kept tensors, with changes to the plan."""
    plan = {"groups": [{"codecs": [INT]}], "tensors__1__group": 0, **changes}
    return _planned(folder, [INT], message, **plan)


def s15_group_that_is_not_there(folder: Path) -> Case:
    says = "tensor 'bias': is in group 1, which is not there"
    return _grouped(folder, says, tensors__1__group=1)


def s15_group_of_text(folder: Path) -> Case:
    says = "tensor 'bias': group must be an integer from 0, got '0'"
    return _grouped(folder, says, tensors__1__group="0")


def s15_group_of_integers(folder: Path) -> Case:
    says = "tensor 'bias': codecs cannot store int32"
    return _grouped(folder, says, tensors__1__dtype="I32")


def s15_group_of_two_dtypes(folder: Path) -> Case:
    more = {**TENSORS[1], "name": "b", "dtype": "F16", "group": 0}
    tensors = [TENSORS[0], {**TENSORS[1], "group": 0}, more]
    plan = plan_of([INT], groups=[{"codecs": [INT]}])
    data = wpool({**plan, "tensors": tensors}, [BIAS])
    return pool_case(folder, data, "tensor 'b': is float16, but group 0 holds float32")


def s15_group_of_nothing(folder: Path) -> Case:
    groups = [{"codecs": [INT]}] * 2
    return _grouped(folder, "group 1: has no tensors", groups=groups)


def s15_no_groups(folder: Path) -> Case:
    return _grouped(folder, "plan: groups is an empty list", groups=[])


def s15_group_without_codecs(folder: Path) -> Case:
    return _grouped(folder, "group 0: lacks the key 'codecs'", groups=[{}])


def s15_group_of_an_unknown_codec(folder: Path) -> Case:
    says = f"group 0: unknown codec 'x' (there are: {_CODECS})"
    return _grouped(folder, says, groups=[{"codecs": [{"name": "x"}]}])


def s15_group_of_an_alias(folder: Path) -> Case:
    tensor = {**TENSORS[0], "name": "w", "alias": "weight", "group": 0}
    del tensor["parts"]
    says = "tensor 'w': has the unknown key 'group'"
    return _grouped(folder, says, tensors__1=tensor)


def s15_grouped_and_stored(folder: Path) -> Case:
    plan = plan_of([INT], groups=[{"codecs": [INT]}], tensors__1__group=0)
    says = "tensor 'bias': is stored, but it is in group 0 in the plan"
    pool: Stored = ("pool/main", "U8", [len(SOUND)], SOUND)
    gap: Stored = ("__pad__.0", "U8", [2], bytes(2))
    return pool_case(folder, wpool(plan, [pool, gap, BIAS]), says)


def s15_group_that_is_not_stored(folder: Path) -> Case:
    plan = plan_of([INT], groups=[{"codecs": [INT]}], tensors__1__group=0)
    says = "tensor 'kept/0': is in the plan but not stored"
    pool: Stored = ("pool/main", "U8", [len(SOUND)], SOUND)
    return pool_case(folder, wpool(plan, [pool]), says)


def s15_damaged_group(folder: Path) -> Case:
    """Its one scale is 0."""
    plan = plan_of([INT], groups=[{"codecs": [INT]}], tensors__1__group=0)
    blob = coded(UNIT, (0, bytes(2)), (0, bytes(3)))
    stored: list[Stored] = [
        ("pool/main", "U8", [len(SOUND)], SOUND),
        ("kept/0", "U8", [len(blob)], blob),
    ]
    file = written(folder / "x.wpool", wpool(plan, stored))
    says = f"{file}: tensor 'kept/0': the scale of block 0 is 0.0"
    already = f"{file}: {ALREADY.format(file)}"
    return Case(file, says, READING, but=dict.fromkeys(("plan", "compress"), already))


def s09_decoded_petabytes(folder: Path) -> Case:
    """A pool that nothing reads, of a few bytes."""
    plan = plan_of([ZSTD])
    plan["pools"][0]["backing"] = 10**15
    says = (
        "its working weights and decoded values take 4000000000000096 bytes; the limit"
        f" is {limit()}. If you trust the file, give --max-working-bytes"
        " 4000000000000096"
    )
    stored: list[Stored] = [("pool/main", "U8", [16], bytes(16)), BIAS]
    return pool_case(folder, wpool(plan, stored), says)
