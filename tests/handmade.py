"""Small ``.wpool`` files with plans made by hand, and what they must load as."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.blobs import chain_of
from wpack import arrangement, container, techniques
from wpack.chain import PLAIN, Chain
from wpack.plan import Plan, PoolPlan, TensorPlan
from wpack.pool import cast
from wpack.table import Block, Slice, SliceTable, block_shape
from wpack.tensors import (
    BFLOAT16,
    FLOAT16,
    FLOAT32,
    DType,
    TensorInfo,
    from_float,
    to_float,
)

PAGE = mmap.PAGESIZE
#: float32 backing weights that fill a page.
PER_PAGE = PAGE // 4

#: ``(pool, start)`` and, unless it is the only one, the working weights read from it.
Read = tuple[str, int] | tuple[str, int, int]
Tensor = tuple[TensorInfo, Sequence[Read]]
#: Codecs, and the names of the kept tensors that they store together.
Group = tuple[Chain, Sequence[str]]


def pooled(
    name: str, shape: tuple[int, ...], *reads: Read, dtype: DType = FLOAT32
) -> Tensor:
    """A tensor that reads ranges of pools, in order."""
    return TensorInfo(name, dtype, shape), reads


def kept(name: str, shape: tuple[int, ...], dtype: DType = FLOAT32) -> Tensor:
    """A tensor stored as it is."""
    return TensorInfo(name, dtype, shape), ()


def alias(name: str, of: str, shape: tuple[int, ...], dtype: DType = FLOAT32) -> Tensor:
    """A tensor that is another one."""
    return TensorInfo(name, dtype, shape, alias_of=of), ()


def plan_of(
    pools: Mapping[str, int],
    *tensors: Tensor,
    dtype: DType = FLOAT32,
    alignment: int = 65536,
) -> Plan:
    """A plan of ``global`` pools (name → backing weights) and tensors as made above."""
    slices: dict[str, list[Slice]] = {name: [] for name in pools}
    planned = []
    for info, reads in tensors:
        pieces, first = [], 0
        for pool, start, *rest in reads:
            numel = rest[0] if rest else info.numel
            shape = block_shape(info.shape, numel)
            piece = Block(info.name, shape, first, numel, "").reading(start, numel)
            slices[pool].append(piece)
            pieces.append((list(pools).index(pool), piece))
            first += numel
        planned.append(TensorPlan(info, tuple(pieces)))
    technique = techniques.named("global")()
    pool_plans = tuple(
        PoolPlan(name, technique, dtype, SliceTable(backing, tuple(slices[name])))
        for name, backing in pools.items()
    )
    return Plan(pool_plans, tuple(planned), alignment)


def coded(plan: Plan, chains: Mapping[str, Chain], *groups: Group) -> Plan:
    """The plan with pools stored by chains, and kept tensors in groups."""
    pools = tuple(
        replace(pool, chain=chains.get(pool.name, PLAIN)) for pool in plan.pools
    )
    of = {name: at for at, (_, names) in enumerate(groups) for name in names}
    tensors = tuple(t._replace(group=of.get(t.name)) for t in plan.tensors)
    return Plan(pools, tensors, plan.alignment, tuple(chain for chain, _ in groups))


def write(path: Path, plan: Plan) -> dict[str, np.ndarray]:
    """Write a plan with random weights; returns what every tensor must load as, found
    by indices alone: raw, flat, of the tensor's dtype."""
    random = np.random.default_rng(0)
    kept = {t.name: random_raw(random, t.info.dtype, t.info.numel) for t in plan.kept}
    pools = {
        f"pool/{pool.name}": random_raw(random, pool.dtype, pool.backing)
        for pool in plan.pools
    }
    stored = write_stored(path, plan, pools | kept)
    return {name: expected(plan, name, stored) for name in plan.by_name}


def write_stored(
    path: Path, plan: Plan, stored: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Write a plan and these values: of pools (``pool/name``) and kept tensors.

    Returns:
        The values as the file has them: codecs do not give back what they were given.
    """
    encoded, decoded = {}, dict(stored)
    for name, (chain, dtype, numel) in arrangement.coded(plan).items():
        prefix, _, index = name.partition("/")
        values = stored[name] if prefix == "pool" else _joined(plan, int(index), stored)
        encoded[name] = chain.encode(to_float(values.reshape(-1), dtype), dtype)
        made = np.empty(numel, dtype.raw)
        data = encoded[name].data
        read = partial(_part_of, data)
        chain.decode(read, len(data), dtype, made, name)
        if prefix == "pool":
            decoded[name] = made
            continue
        for info in plan.groups[int(index)].infos:
            first = plan.groups[int(index)].firsts[info.name]
            decoded[info.name] = made[first : first + info.numel]
    source = container.Source("0" * 64, 0)
    names = (entry.name for entry in container.arrange(plan).stored)
    blocks = ((n, [stored[n].reshape(-1)]) for n in names if n not in encoded)
    container.write(path, plan, "", source, blocks, coded=encoded, force=True)
    return decoded


def _joined(plan: Plan, index: int, stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """The values of a group, one tensor after another."""
    names = (info.name for info in plan.groups[index].infos)
    return np.concatenate([stored[name].reshape(-1) for name in names])


def _part_of(data: np.ndarray, begin: int, end: int) -> np.ndarray:
    return data[begin:end]


def random_raw(random: np.random.Generator, dtype: DType, numel: int) -> np.ndarray:
    """Values of any dtype, those of poolable ones between 0 and 1."""
    if dtype.poolable:
        return from_float(random.random(numel, "<f4"), dtype)
    return random.integers(0, 2, numel).astype(dtype.raw)


def expected(plan: Plan, name: str, stored: Mapping[str, np.ndarray]) -> np.ndarray:
    """What a tensor must load as, given what the file stores."""
    tensor = plan.by_name[name]
    if tensor.info.alias_of is not None:
        return expected(plan, tensor.info.alias_of, stored)
    if not tensor.pieces:
        return stored[name].reshape(-1)
    parts = []
    for index, piece in tensor.pieces:
        pool = plan.pools[index]
        at = (piece.start + np.arange(piece.length)) % pool.backing
        raw = stored[f"pool/{pool.name}"][at]
        parts.append(cast(raw, pool.dtype, tensor.info.dtype))
    return np.concatenate(parts)


@st.composite
def plans(draw: st.DrawFn, page_nbytes: int = PAGE) -> Plan:
    """Tensors of one to three parts over two pools, in whole pages or not, so that
    rings, stitching, and every reason against them come up."""
    page = page_nbytes // FLOAT16.itemsize
    odd = st.sampled_from([0, 0, 0, 0, 3, page // 4])
    pools = {name: draw(st.integers(1, 2)) * page + draw(odd) for name in "ab"}
    tensors = []
    for index in range(draw(st.integers(1, 4))):
        reads: list[Read] = []
        for _ in range(draw(st.integers(1, 3))):
            pool = draw(st.sampled_from("ab"))
            start = draw(st.sampled_from([0, 0, page, 7])) % pools[pool]
            length = draw(st.integers(1, 4)) * page - draw(odd)
            reads.append((pool, start, length))
        numel = sum(read[-1] for read in reads)
        tensors.append(pooled(f"t{index}", (numel,), *reads, dtype=FLOAT16))
    return plan_of(pools, *tensors, dtype=FLOAT16)


#: One of everything: a slice that wraps, one longer than its pool, one that does
#: neither, parts of two pools that meet on pages, parts that do not, a cast, an alias.
EVERYTHING = plan_of(
    {"a": 4 * PER_PAGE, "b": 2 * PER_PAGE},
    pooled("wraps", (2, PER_PAGE), ("a", 3 * PER_PAGE)),
    pooled("long", (9, PER_PAGE), ("b", 5)),
    pooled("plain", (3, 4), ("a", 17)),
    pooled("whole", (4, PER_PAGE), ("a", 0)),
    pooled(
        "stitched",
        (5, PER_PAGE - 1),
        ("a", PER_PAGE + 6, PER_PAGE * 2 - 6),
        ("b", PER_PAGE, PER_PAGE * 3 + 1),
    ),
    pooled("joined", (7,), ("a", 1, 4), ("b", 1, 3)),
    pooled("cast", (6, 2), ("a", 4 * PER_PAGE - 3), dtype=BFLOAT16),
    kept("bias", (5,)),
    alias("tied", "wraps", (2, PER_PAGE)),
)
#: The same with one pool and two groups of kept tensors decoded when they are loaded;
#: its tests need ``int`` and ``zstd``.
CODED = coded(
    Plan(
        EVERYTHING.pools,
        (
            *EVERYTHING.tensors,
            *(
                TensorPlan(TensorInfo(name, BFLOAT16, shape))
                for name, shape in (("g0", (3, 7)), ("g1", ()), ("g2", (90,)))
            ),
        ),
        EVERYTHING.alignment,
    ),
    {"a": chain_of("int: 4, zstd")},
    (chain_of("int"), ["bias"]),
    (chain_of("zstd"), ["g0", "g1", "g2"]),
)
