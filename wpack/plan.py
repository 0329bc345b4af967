"""The plan: who reads what from where, frozen, decided before any weight is read.

Its canonical JSON is the slice table inside a ``.wpool`` (``docs/format.md``).
:mod:`wpack.planner` makes one from a spec, :mod:`wpack.plan_reader` from a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from . import strict_json
from .chain import PLAIN, Chain
from .table import Slice, SliceTable
from .techniques import Technique
from .tensors import DType, TensorInfo

VERSION = 1
#: Where pools may start: multiples of one of these, in bytes.
ALIGNMENTS = (64, 4096, 65536)
#: Names with these prefixes are the format's own.
RESERVED_PREFIXES = ("pool/", "kept/", "__")
RESERVED = "names starting pool/, kept/ or __"


def alignment_of(pools_nbytes: int) -> int:
    """Alignment of pools in a file, in bytes, for pools of ``pools_nbytes`` together.

    Large pools start on a page of any machine (64 KiB), so that they can be mapped;
    small files must stay small, and copying a small pool costs nothing.
    """
    if pools_nbytes >= 16 << 20:
        return 65536
    return 4096 if pools_nbytes >= 1 << 20 else 64


@dataclass(frozen=True)
class PoolPlan:
    """One pool: its technique, its slices, and how its values are stored.

    Attributes:
        dtype: Of the backing weights, decoded where there is a chain.
        chain: The codecs that store them; the empty chain stores them as they are.
    """

    name: str
    technique: Technique
    dtype: DType
    table: SliceTable
    chain: Chain = PLAIN

    @property
    def backing(self) -> int:
        """N_b: backing weights."""
        return self.table.backing

    @property
    def working(self) -> int:
        """N_w: working weights."""
        return self.table.working

    @property
    def ratio(self) -> float:
        """N_h = N_w / N_b."""
        return self.working / self.backing

    @property
    def nbytes(self) -> int:
        """Bytes of the backing weights, decoded."""
        return self.backing * self.dtype.itemsize


class TensorPlan(NamedTuple):
    """One tensor of the checkpoint and where it comes from.

    Attributes:
        pieces: ``(index of the pool, slice)``, tiling the tensor in row-major order;
            empty for a tensor that is kept or an alias.
        group: Index of the group that a kept tensor is stored in; None: on its own.
    """

    info: TensorInfo
    pieces: tuple[tuple[int, Slice], ...] = ()
    group: int | None = None

    @property
    def name(self) -> str:
        """The tensor's name in the checkpoint."""
        return self.info.name

    @property
    def kind(self) -> str:
        """``pooled``, ``kept`` or ``alias``."""
        if self.info.alias_of is not None:
            return "alias"
        return "pooled" if self.pieces else "kept"


@dataclass(frozen=True)
class Group:
    """Kept tensors that codecs store together, as one array: what a codec and a header
    take for each of them would be more than many of them are.

    Attributes:
        chain: The codecs.
        dtype: Of all of them.
        infos: In checkpoint order, which is theirs in the array.
    """

    chain: Chain
    dtype: DType
    infos: tuple[TensorInfo, ...]

    @cached_property
    def firsts(self) -> dict[str, int]:
        """Where in the array each tensor starts, by name."""
        ends = accumulate((info.numel for info in self.infos), initial=0)
        return dict(zip((info.name for info in self.infos), ends, strict=False))

    @property
    def numel(self) -> int:
        """Elements of all of them."""
        return sum(info.numel for info in self.infos)

    @property
    def nbytes(self) -> int:
        """Bytes of all of them, decoded."""
        return self.numel * self.dtype.itemsize


@dataclass(frozen=True)
class Plan:
    """The whole decision.

    Attributes:
        pools: In the spec's order.
        tensors: In checkpoint order.
        alignment: Where pools start in the file, in bytes.
        group_chains: The codecs of each group of kept tensors.
    """

    pools: tuple[PoolPlan, ...]
    tensors: tuple[TensorPlan, ...]
    alignment: int
    group_chains: tuple[Chain, ...] = ()

    @cached_property
    def by_name(self) -> dict[str, TensorPlan]:
        """The tensors by name, in checkpoint order."""
        return {t.name: t for t in self.tensors}

    @cached_property
    def pooled(self) -> tuple[TensorPlan, ...]:
        """Tensors made from pools."""
        return tuple(t for t in self.tensors if t.pieces)

    @cached_property
    def kept(self) -> tuple[TensorPlan, ...]:
        """Tensors stored on their own, or in a group."""
        return tuple(
            t for t in self.tensors if not t.pieces and t.info.alias_of is None
        )

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Kept tensors that are stored together."""
        infos: list[list[TensorInfo]] = [[] for _ in self.group_chains]
        for tensor in self.kept if infos else ():
            if tensor.group is not None:
                infos[tensor.group].append(tensor.info)
        return tuple(
            Group(chain, members[0].dtype, tuple(members))
            for chain, members in zip(self.group_chains, infos, strict=True)
        )

    @property
    def aliases(self) -> dict[str, str]:
        """Alias → the tensor it is."""
        return {t.name: t.info.alias_of for t in self.tensors if t.info.alias_of}

    @property
    def exact(self) -> bool:
        """Whether every stored size is known before the values are."""
        chains = [*(pool.chain for pool in self.pools), *self.group_chains]
        return not any(chain.entropy for chain in chains)

    @property
    def inflated_bytes(self) -> int:
        """Bytes of all tensors when each stands on its own, aliases once."""
        return sum(t.info.nbytes for t in self.tensors if t.kind != "alias")

    def to_json(self) -> str:
        """Canonical JSON; equal plans give equal text."""
        groups = [{"codecs": _codecs_document(chain)} for chain in self.group_chains]
        return strict_json.dumps(
            {
                **({"groups": groups} if groups else {}),
                "version": VERSION,
                "alignment": self.alignment,
                "pools": [_pool_document(pool) for pool in self.pools],
                "tensors": [self._tensor_document(t) for t in self.tensors],
            }
        )

    def _tensor_document(self, tensor: TensorPlan) -> dict[str, Any]:
        info = tensor.info
        document: dict[str, Any] = {
            "name": info.name,
            "dtype": info.dtype.code,
            "shape": list(info.shape),
        }
        if info.alias_of is not None:
            return {**document, "alias": info.alias_of}
        if not tensor.pieces:
            group = {} if tensor.group is None else {"group": tensor.group}
            return {**document, "kept": True, **group}
        parts = [self._part_document(pool, piece) for pool, piece in tensor.pieces]
        return {**document, "parts": parts}

    def _part_document(self, pool: int, piece: Slice) -> dict[str, Any]:
        document: dict[str, Any] = {
            "pool": self.pools[pool].name,
            "start": piece.start,
            "length": piece.length,
            "numel": piece.numel,
        }
        return {**document, "part": piece.part} if piece.part else document


def _pool_document(pool: PoolPlan) -> dict[str, Any]:
    codecs = {"codecs": _codecs_document(pool.chain)} if pool.chain else {}
    return {
        **codecs,
        "name": pool.name,
        "technique": {"name": pool.technique.name, **pool.technique.options()},
        "dtype": pool.dtype.code,
        "backing": pool.backing,
    }


def _codecs_document(chain: Chain) -> list[dict[str, Any]]:
    """JSON has no number but integers here, so that it has one meaning; others are
    text."""
    return [
        {k: repr(v) if isinstance(v, float) else v for k, v in fields.items()}
        for fields in chain.to_json()
    ]
