"""Random ``.wpool`` files, thousands in a minute: what hypothesis would draw, had it
the time."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from wpack import strict_json
from wpack.codecs import names
from wpack.plan import Plan
from wpack.plan_reader import read_plan
from wpack.tensors import BY_CODE, DType, from_float

_POOLABLE = [dtype for dtype in BY_CODE.values() if dtype.poolable]
_CODES = list(BY_CODE)
_FLOAT16 = {"name": "float16"}
#: Names of tensors: dots, other scripts, blanks, quotes, marks of direction.
_NAMES = ("w", "блок.0", "a b", '"', "\\", "\u202e", "x" * 200, "é", "😀", "/", "..")


def random_plan(random: Random) -> Plan:
    """Pools of every dtype, coded or not, parts that run once round and many times,
    casts, kept tensors of every dtype and of no elements, aliases of both, in any
    order."""
    pools = [_pool(random, index) for index in range(random.randint(0, 3))]
    tensors = [_kept(random, index) for index in range(random.randint(0, 3))]
    if pools:
        tensors += [_pooled(random, i, pools) for i in range(random.randint(0, 4))]
    groups = _grouped(random, tensors)
    random.shuffle(tensors)
    for index in range(random.randint(0, 2) if tensors else 0):
        target = random.choice(tensors)
        if "alias" not in target:
            same = {key: target[key] for key in ("dtype", "shape")}
            tensors.append({"name": f"t{index}", "alias": target["name"], **same})
    document = {
        "version": 1,
        "alignment": random.choice([64, 64, 64, 4096, 65536]),
        "pools": pools,
        "tensors": tensors,
        **({"groups": groups} if groups else {}),
    }
    return read_plan(strict_json.dumps(document))


def random_values(random: Random, plan: Plan) -> dict[str, np.ndarray]:
    """The values of a plan's pools and kept tensors, by the names they are stored under
    where they stand alone, raw: any bits that every reader must keep; of what is coded
    any numbers."""
    seed = random.getrandbits(32)
    wanted = [
        (f"pool/{pool.name}", pool.dtype, pool.backing, bool(pool.chain))
        for pool in plan.pools
    ]
    wanted += [
        (t.name, t.info.dtype, t.info.numel, t.group is not None) for t in plan.kept
    ]
    values = {}
    for number, (name, dtype, numel, is_coded) in enumerate(wanted):
        if is_coded:
            drawn = np.random.default_rng(seed + number).standard_normal(numel)
            values[name] = from_float(drawn * random.choice([1e-6, 1, 300]), dtype)
        else:
            values[name] = _values(seed + number, dtype, numel)
    return values


def _pool(random: Random, index: int) -> dict[str, Any]:
    # Small ones, so that parts run round; others that are whole pages.
    backing = random.choice([1, 2, 3, 7, 16, 64, 100, 1024])
    return {
        **_codecs(random),
        "name": f"{random.choice(_NAMES)}{index}",
        "dtype": random.choice(_POOLABLE).code,
        "backing": backing,
        "technique": {"name": "global"},
    }


def _pooled(random: Random, index: int, pools: list[dict[str, Any]]) -> dict[str, Any]:
    parts: list[dict[str, Any]] = []
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        pool = random.choice(pools)
        backing = pool["backing"]
        longest = random.choice([1, backing, 3 * backing, 200])
        numel = random.randint(1, longest)
        start = random.choice([0, backing - 1, random.randrange(backing)])
        part = {"pool": pool["name"], "start": start, "length": numel, "numel": numel}
        parts.append({**part, "part": "q"} if random.random() < 0.2 else part)
    numel = sum(part["numel"] for part in parts)
    shape = [numel // 2, 2] if numel % 2 == 0 else [1, numel, 1]
    name = f"{random.choice(_NAMES)}.{index}.weight"
    code = random.choice(_POOLABLE).code
    return {"name": name, "dtype": code, "shape": shape, "parts": parts}


def _kept(random: Random, index: int) -> dict[str, Any]:
    shape = [random.randint(0, 4) for _ in range(random.randint(0, 3))]
    name = f"{random.choice(_NAMES)}.{index}.bias"
    code = random.choice(_CODES)
    return {"name": name, "dtype": code, "shape": shape, "kept": True}


def _grouped(random: Random, tensors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put kept tensors into up to two groups; returns those."""
    groups: list[dict[str, Any]] = []
    for _ in range(random.randint(0, 2)):
        free = [t for t in tensors if "kept" in t and "group" not in t]
        free = [t for t in free if BY_CODE[t["dtype"]].poolable]
        codecs = _codecs(random)
        if free and codecs:
            dtype = random.choice(free)["dtype"]
            for tensor in free:
                if tensor["dtype"] == dtype:
                    tensor["group"] = len(groups)
            groups.append(codecs)
    return groups


def _codecs(random: Random) -> dict[str, Any]:
    """A chain that the independent reader knows, of what is there, or none."""
    bits, block = random.randint(2, 8), random.choice([8, 64, 1024])
    stages: list[list[dict[str, Any]]] = [
        [{"name": "prune", "share": random.choice(["0.5", "0.29", "0.99"])}],
        [random.choice([{"name": "int", "bits": bits, "block": block}, _FLOAT16])],
        [{"name": "zstd", "level": 1}],
    ]
    chain = [codec for stage in stages if random.random() < 0.2 for codec in stage]
    chain = [codec for codec in chain if codec["name"] in names()]
    return {"codecs": chain} if chain else {}


def _values(seed: int, dtype: DType, numel: int) -> np.ndarray:
    """Any bits, but for BOOLs and for NaNs of pools, whose payload a cast loses."""
    bits = np.random.default_rng(seed).integers(0, 256, numel * dtype.itemsize, "u1")
    if dtype.code == "BOOL":
        bits &= 1
    raw = bits.view(dtype.raw)
    if dtype.code == "BF16":
        exponent = np.uint16(0x7F80)
        return np.where(raw & exponent == exponent, raw & ~np.uint16(0x7F), raw)
    if dtype.poolable:
        raw[np.isnan(raw)] = np.inf
    return raw
