"""Hostile plans and slice tables, in files that are sound but for them: S01 to S20.

The table of ``tests/bad_plans.py`` stands beside them.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bad_plans import with_metadata, with_part, with_plan
from tests.crafting import BIAS, PLAN, POOL, STORED, plan_with, safetensors, wpool
from tests.hostile.case import Case, pool_case, written
from wpack import techniques

_INTEGER = "must be an integer from"
_TECHNIQUES = ", ".join(techniques.names())


def tensor_of(name: str, numel: int, length: int) -> dict[str, Any]:
    part = {"pool": "main", "start": 0, "length": length, "numel": numel}
    return {"name": name, "dtype": "F32", "shape": [numel], "parts": [part]}


def _pooled(tensors: Sequence[dict[str, Any]]) -> bytes:
    return wpool(plan_with(tensors=list(tensors)), [POOL])


def s01_no_pool_file(folder: Path) -> Case:
    file = written(folder / "x.safetensors", safetensors([BIAS]))
    says = (
        "a safetensors file, but no .wpool: its format is none, not 'wpool'. `wpack"
        " compress` makes a .wpool of a checkpoint"
    )
    return Case(file, f"{file}: {says}", ("verify",))


def s01_version_of_a_megabyte(folder: Path) -> Case:
    data = with_metadata({"wpool.version": "9" * 1_000_000})
    shown = repr("9" * 61 + "...")
    what = "of the format; this wpack reads version 1. Upgrade wpack"
    return pool_case(folder, data, f"written for version {shown} {what}")


def s01_plan_of_spaces(folder: Path) -> Case:
    says = "plan: not JSON: Expecting value at character 1000000"
    return pool_case(folder, wpool(" " * 1_000_000, STORED), says)


def s01_plan_in_a_plan(folder: Path) -> Case:
    says = "plan: the entry must be an object, got '{}'"
    return pool_case(folder, wpool(json.dumps("{}"), STORED), says)


def _deflated(folder: Path, text: bytes | str, message: str, **more: str) -> Case:
    """A plan that is to be inflated."""
    if isinstance(text, bytes):
        text = b64encode(text).decode()
    held = {"wpool.plan": None, "wpool.plan.zlib": text, **more}
    return pool_case(folder, with_metadata(held), message)


_TOO_MUCH = "wpool.plan.zlib: is cut short, goes on, or comes to over 2097152 bytes"


def s01_deflated_without_an_end(folder: Path) -> Case:
    deflater = zlib.compressobj(9)
    endless = b"".join(deflater.compress(bytes(1 << 20)) for _ in range(64))
    return _deflated(folder, endless + b"\0" * 1000, _TOO_MUCH)


def s01_deflated_64_mebibytes(folder: Path) -> Case:
    """A sound stream of 64 KB."""
    deflater = zlib.compressobj(9)
    parts = [deflater.compress(b" " * (1 << 20)) for _ in range(64)]
    return _deflated(folder, b"".join([*parts, deflater.flush()]), _TOO_MUCH)


def s01_deflated_cut_short(folder: Path) -> Case:
    return _deflated(folder, zlib.compress(b"{}")[:-1], _TOO_MUCH)


def s01_deflated_and_more(folder: Path) -> Case:
    return _deflated(folder, zlib.compress(b"{}") + b"\0", _TOO_MUCH)


def s01_deflated_of_lists(folder: Path) -> Case:
    """Of all that may be inflated, what takes longest to be refused: 700,000 lists, in
    three kilobytes."""
    text = b'{"tensors":[' + b"[]," * 699_000 + b"0]}"
    says = "plan: lacks the key 'alignment'"
    return _deflated(folder, zlib.compress(text, 9), says)


def s01_deflated_text_that_is_none(folder: Path) -> Case:
    says = "wpool.plan.zlib: is not UTF-8"
    return _deflated(folder, zlib.compress(b'{"\xff"}'), says)


def s01_not_deflated(folder: Path) -> Case:
    says = "wpool.plan.zlib: is no zlib stream, or a damaged one"
    return _deflated(folder, json.dumps(PLAN).encode(), says)


def s01_deflated_with_a_dictionary(folder: Path) -> Case:
    """Which a reader would have to have."""
    deflater = zlib.compressobj(zdict=b'{"alignment":64}')
    data = deflater.compress(b'{"alignment":64}') + deflater.flush()
    says = "wpool.plan.zlib: is no zlib stream, or a damaged one"
    return _deflated(folder, data, says)


def s01_no_base64(folder: Path) -> Case:
    return _deflated(folder, "e30=\n", "wpool.plan.zlib: is not base64")


def s01_base64_of_other_letters(folder: Path) -> Case:
    return _deflated(folder, "\u0435\u0437", "wpool.plan.zlib: is not base64")


def s01_deflated_nothing(folder: Path) -> Case:
    return _deflated(folder, "", _TOO_MUCH)


def s01_two_plans(folder: Path) -> Case:
    text = json.dumps(PLAN)
    says = "__metadata__: there are two of wpool.plan"
    more = {"wpool.plan": text}
    return _deflated(folder, zlib.compress(text.encode()), says, **more)


def s01_plan_deflated_otherwise(folder: Path) -> Case:
    says = "__metadata__: unknown key 'wpool.plan.zstd'"
    return pool_case(folder, with_metadata({"wpool.plan.zstd": "KLUv/Q=="}), says)


def s02_pool_of_another_type(folder: Path) -> Case:
    return pool_case(
        folder, with_part(pool=[]), "tensor 'w': pool must be a name, got []"
    )


def s03_start_of_text(folder: Path) -> Case:
    says = f"tensor 'w': start {_INTEGER} 0, got '0'"
    return pool_case(folder, with_part(start="0"), says)


def s03_start_beyond_all_integers(folder: Path) -> Case:
    says = f"tensor 'w': start {_INTEGER} 0, got {10**39}"
    return pool_case(folder, with_part(start=10**45), says)


def s04_length_of_2_to_the_63(folder: Path) -> Case:
    says = f"tensor 'w': numel {_INTEGER} 1, got {2**63}"
    return pool_case(folder, with_part(length=2**63, numel=2**63), says)


def s04_parts_that_overflow_together(folder: Path) -> Case:
    part = {"pool": "main", "start": 0, "length": 2**62, "numel": 2**62}
    data = with_plan(tensors__0__parts=[part] * 4)
    says = f"tensor 'w': its parts make {2**64} working weights, its shape has 9"
    return pool_case(folder, data, says)


def s04_shape_of_nothing(folder: Path) -> Case:
    data = with_plan(tensors__0__shape=[0, 3], tensors__2=None)
    says = "tensor 'w': its parts make 9 working weights, its shape has 0"
    return pool_case(folder, data, says)


def s05_kept_that_is_false(folder: Path) -> Case:
    data = with_plan(tensors__1__kept=False)
    return pool_case(folder, data, "tensor 'b': kept must be true")


def s09_more_than_there_is_memory(folder: Path) -> Case:
    return _bomb(folder, [tensor_of("w", 10**15, 10**15)])


def s09_in_a_thousand_tensors(folder: Path) -> Case:
    return _bomb(folder, [tensor_of(f"w{i}", 10**12, 10**12) for i in range(1000)])


def s09_in_a_thousand_parts(folder: Path) -> Case:
    tensor = tensor_of("w", 10**12, 10**12)
    parts = tensor["parts"] * 1000
    return _bomb(folder, [{**tensor, "shape": [1000, 10**12], "parts": parts}])


def _bomb(folder: Path, tensors: Sequence[dict[str, Any]]) -> Case:
    """Four petabytes of working weights; the limit depends on the machine."""
    says = (
        "its working weights take 4000000000000000 bytes; the limit is {limit}. If you"
        " trust the file, give --max-working-bytes 4000000000000000"
    )
    return pool_case(folder, _pooled(tensors), says.format(limit=limit()))


def limit() -> int:
    from wpack.limits import physical_memory

    return 4 * physical_memory()


def s14_pool_of_bools(folder: Path) -> Case:
    data = with_plan(pools__0__dtype="BOOL")
    return pool_case(folder, data, "pool 'main': a pool cannot hold bool")


def s17_checksum_twice(folder: Path) -> Case:
    data = with_metadata({"wpool.sha256": '{"b":"","b":""}'})
    says = "wpool.sha256: the key 'b' stands twice in one object"
    return pool_case(folder, data, says)


def s17_checksum_in_capitals(folder: Path) -> Case:
    sums = {name: "A" * 64 for name in ("__header__", "b", "pool/main")}
    data = with_metadata({"wpool.sha256": json.dumps(sums)})
    says = (
        "wpool.sha256: the checksum of '__header__' is no SHA-256: 64 hexadecimal"
        " digits, lower case"
    )
    return pool_case(folder, data, says)


def s17_changed_byte_in_the_header(folder: Path) -> Case:
    data = with_metadata({"wpool.info.x": "aaaa"}).replace(b"aaaa", b"aaab")
    says = (
        "its header is damaged: it has another SHA-256 than it says. Download or copy"
        " it again"
    )
    return pool_case(folder, data, says)


def s17_changed_byte_in_a_pool(folder: Path) -> Case:
    """Found by the command that reads all bytes to compare them."""
    whole = wpool(PLAN, STORED)
    file = written(folder / "x.wpool", whole[:-72] + b"\1" + whole[-71:])
    says = (
        "tensor 'pool/main': damaged: its SHA-256 is 16abab341fb7f370…, the header says"
        " f5a5fd42d16a2030…"
    )
    return Case(file, f"{file}: {says}", ("verify",))


def s18_part_of_a_hundred_thousand(folder: Path) -> Case:
    """The last of many parts is wrong; to find that is no more than reading it."""
    part = {"pool": "main", "start": 0, "length": 1, "numel": 1}
    tensor = {"name": "w", "dtype": "F32", "shape": [50_000]}
    parts = [part] * 49_999 + [{**part, "start": 16}]
    data = _pooled([{**tensor, "parts": parts}])
    says = "tensor 'w': starts at 16, but pool 'main' has 16 backing weights"
    return pool_case(folder, data, says)


def s19_tensor_that_the_model_lacks(folder: Path) -> Case:
    says = (
        "1 not in it (weigth); 2 not in the plan (weight, bias). Is 'weight' what the"
        " plan calls 'weigth'?"
    )
    return _other_model(folder, [("weigth", "F32", [6, 4], bytes(96))], says)


def s19_tensor_of_another_shape(folder: Path) -> Case:
    stored = [("weight", "F32", [4, 6], bytes(96)), ("bias", "F32", [6], bytes(24))]
    says = (
        "1 of another shape (weight (6, 4), not (4, 6)). Build the model that the"
        " checkpoint belongs to"
    )
    return _other_model(folder, stored, says)


def _other_model(folder: Path, stored: Any, message: str) -> Case:
    file = written(folder / "x.safetensors", safetensors(stored))
    says = f"Linear: the model is not the one planned for: {message}"
    return Case(file, says, ("eval", "finetune"))


def s20_alias_of_itself(folder: Path) -> Case:
    data = with_plan(tensors__2__alias="t")
    return pool_case(folder, data, "tensor 't': is an alias of 't', no tensor")


def s20_aliases_in_a_circle(folder: Path) -> Case:
    other = {**PLAN["tensors"][2], "name": "u", "alias": "t"}
    one = {**PLAN["tensors"][2], "alias": "u"}
    data = with_plan(tensors=[*PLAN["tensors"][:2], one, other])
    return pool_case(folder, data, "tensor 't': is an alias of 'u', no tensor")
