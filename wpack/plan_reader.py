"""A plan read from its JSON, which a stranger may have written: nothing is trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import strict_json, techniques, untrusted
from .chain import PLAIN, Chain
from .chain_reader import chain_of
from .errors import FormatError, SpecError
from .plan import (
    ALIGNMENTS,
    RESERVED,
    RESERVED_PREFIXES,
    VERSION,
    Plan,
    PoolPlan,
    TensorPlan,
)
from .table import Slice, SliceTable, block_shape
from .techniques import Technique
from .tensors import DType, TensorInfo

_PLAN_KEYS = frozenset({"version", "alignment", "pools", "tensors"})
_POOL_KEYS = frozenset({"name", "technique", "dtype", "backing"})
_PART_KEYS = frozenset({"pool", "start", "length", "numel"})
_NAMED_PART_KEYS = _PART_KEYS | {"part"}
_TENSOR_KEYS = frozenset({"name", "dtype", "shape"})
#: All keys of a tensor → what kind it is.
_KIND_OF = {
    **{_TENSOR_KEYS | {kind}: kind for kind in ("kept", "alias", "parts")},
    _TENSOR_KEYS | {"kept", "group"}: "kept",
}


def read_plan(text: str) -> Plan:
    """The plan whose :meth:`~wpack.plan.Plan.to_json` this is.

    Raises:
        FormatError: Any rule of ``docs/format.md`` is broken; ``where`` names the
            tensor or pool.
    """
    try:
        document = strict_json.loads(text)
    except ValueError as error:
        raise FormatError(str(error), where="plan") from None
    return _Reader(document).plan


class _Reader:
    """Checks a plan's document while it builds the plan."""

    def __init__(self, document: Any) -> None:
        has_groups = isinstance(document, dict) and "groups" in document
        wanted = _PLAN_KEYS | {"groups"} if has_groups else _PLAN_KEYS
        keys = untrusted.keys_of(document, "plan", wanted)
        if keys["version"] != VERSION:
            raise FormatError(
                f"version {keys['version']!r:.40} of the plan is not known, this wpack"
                f" reads version {VERSION}",
                where="plan",
                hint="Upgrade wpack",
            )
        if keys["alignment"] not in ALIGNMENTS:
            raise FormatError(f"alignment must be one of {ALIGNMENTS}", where="plan")
        self.pools = [
            self._pool(p) for p in untrusted.items(keys["pools"], "plan", "pools")
        ]
        self.index = {pool[0]: i for i, pool in enumerate(self.pools)}
        if len(self.index) != len(self.pools):
            raise FormatError("two pools have the same name", where="plan")
        self.groups = _groups(keys["groups"]) if has_groups else ()
        self.slices: list[list[Slice]] = [[] for _ in self.pools]
        tensors = [
            self._placed(t) for t in untrusted.items(keys["tensors"], "plan", "tensors")
        ]
        _check_names(tensors)
        _check_groups(tensors, len(self.groups))
        pools = tuple(
            PoolPlan(name, technique, dtype, SliceTable(backing, tuple(slices)), chain)
            for (name, technique, dtype, backing, chain), slices in zip(
                self.pools, self.slices, strict=True
            )
        )
        self.plan = Plan(pools, tuple(tensors), keys["alignment"], self.groups)

    def _pool(self, document: Any) -> tuple[str, Technique, DType, int, Chain]:
        has_codecs = isinstance(document, dict) and "codecs" in document
        wanted = _POOL_KEYS | {"codecs"} if has_codecs else _POOL_KEYS
        keys = untrusted.keys_of(document, "plan: pools", wanted)
        name = untrusted.text(keys["name"], "plan: pools", "name")
        where = f"pool {name[:80]!r}"
        dtype = untrusted.dtype_of(keys["dtype"], where)
        if not dtype.poolable:
            raise FormatError(f"a pool cannot hold {dtype}", where=where)
        backing = untrusted.integer(keys["backing"], where, "backing", minimum=1)
        options = dict(untrusted.mapping(keys["technique"], where, "technique"))
        technique = untrusted.text(options.pop("name", None), where, "technique name")
        try:
            made = techniques.named(technique).from_options(options)
        except SpecError as error:
            raise FormatError(str(error), where=where) from None
        except ValueError as error:
            raise FormatError(f"technique {technique} {error}", where=where) from None
        chain = chain_of(keys["codecs"], where) if has_codecs else PLAIN
        return name, made, dtype, backing, chain

    def _placed(self, document: Any) -> TensorPlan:
        """A tensor, or a refusal that names it: a sound one needs no place."""
        try:
            return self._tensor(document, "")
        except FormatError as error:
            name = document.get("name") if isinstance(document, dict) else None
            place = "plan: tensors"
            if isinstance(name, str) and name:
                place = f"tensor {name[:80]!r}"
            raise FormatError(error.what, where=place, hint=error.hint) from None

    def _tensor(self, document: Any, where: str) -> TensorPlan:
        fields = untrusted.mapping(document, where, "tensor")
        name = untrusted.text(fields.get("name"), where, "name")
        kind = _KIND_OF.get(frozenset(fields))
        if kind is None:
            self._refuse_keys(fields, where)
        dtype = untrusted.dtype_of(fields["dtype"], where)
        shape = untrusted.shape_of(fields["shape"], where)
        if kind == "alias":
            target = untrusted.text(fields["alias"], where, "alias")
            return TensorPlan(TensorInfo(name, dtype, shape, alias_of=target))
        info = TensorInfo(name, dtype, shape)
        if kind == "kept":
            if fields["kept"] is not True:
                raise FormatError("kept must be true", where=where)
            group = self._group(fields["group"], where) if "group" in fields else None
            return TensorPlan(info, group=group)
        if not dtype.poolable:
            raise FormatError(f"{dtype} cannot come from a pool", where=where)
        return TensorPlan(info, self._pieces(fields["parts"], info, where))

    def _group(self, index: Any, where: str) -> int:
        index = untrusted.integer(index, where, "group")
        if index >= len(self.groups):
            raise FormatError(f"is in group {index}, which is not there", where=where)
        return int(index)

    def _refuse_keys(self, fields: Mapping[str, Any], where: str) -> None:
        """Say what is wrong with keys that are no tensor's."""
        kinds = [kind for kind in ("kept", "alias", "parts") if kind in fields]
        if len(kinds) != 1:
            raise FormatError("must have one of kept, alias, parts", where=where)
        untrusted.keys_of(fields, where, _TENSOR_KEYS | set(kinds))

    def _pieces(
        self, document: Any, info: TensorInfo, where: str
    ) -> tuple[tuple[int, Slice], ...]:
        pieces: list[tuple[int, Slice]] = []
        first, wanted = 0, info.numel
        for part in untrusted.items(document, where, "parts"):
            pool, start, length, numel, label = self._part(part, where)
            shape = info.shape if numel == wanted else block_shape(info.shape, numel)
            piece = Slice(info.name, shape, first, numel, label, start, length)
            self.slices[pool].append(piece)
            pieces.append((pool, piece))
            first += numel
        if first != wanted or not pieces:
            raise FormatError(
                f"its parts make {first} working weights, its shape has {wanted}",
                where=where,
            )
        return tuple(pieces)

    def _part(self, document: Any, where: str) -> tuple[int, int, int, int, str]:
        """Pool, start, length, numel and name of one part."""
        named = isinstance(document, dict) and "part" in document
        wanted = _NAMED_PART_KEYS if named else _PART_KEYS
        fields = untrusted.keys_of(document, where, wanted)
        name = untrusted.text(fields["pool"], where, "pool")
        if name not in self.index:
            raise FormatError(
                f"reads pool {name[:80]!r}, which is not there", where=where
            )
        pool = self.index[name]
        _, technique, _, backing, _ = self.pools[pool]
        start = untrusted.integer(fields["start"], where, "start")
        if start >= backing:
            raise FormatError(
                f"starts at {start}, but pool {name!r} has {backing} backing weights",
                where=where,
            )
        numel = untrusted.integer(fields["numel"], where, "numel", minimum=1)
        length = untrusted.integer(fields["length"], where, "length", minimum=1)
        if length != numel and technique.zero_copy:
            raise FormatError(
                f"reads {length} backing weights for {numel} working weights; technique"
                f" {technique.name} reads one for each",
                where=where,
            )
        if length > backing and not technique.zero_copy:
            # It is laid out straight, however few working weights come of it.
            raise FormatError(
                f"reads {length} backing weights, but pool {name[:80]!r} has {backing};"
                f" technique {technique.name} does not go round",
                where=where,
            )
        label = untrusted.text(fields["part"], where, "part") if named else ""
        return pool, start, length, numel, label


def _groups(document: Any) -> tuple[Chain, ...]:
    """The codecs of each group, of which there is at least one."""
    found = untrusted.items(document, "plan", "groups")
    if not found:
        raise FormatError("groups is an empty list", where="plan")
    chains = []
    for index, fields in enumerate(found):
        where = f"group {index}"
        keys = untrusted.keys_of(fields, where, {"codecs"})
        chains.append(chain_of(keys["codecs"], where))
    return tuple(chains)


def _check_groups(tensors: Sequence[TensorPlan], count: int) -> None:
    """Every group has tensors, all of one dtype."""
    dtypes: dict[int, DType] = {}
    for tensor in tensors:
        if tensor.group is None:
            continue
        dtype = tensor.info.dtype
        if not dtype.poolable:
            raise FormatError(f"codecs cannot store {dtype}", where=_place(tensor))
        of_group = dtypes.setdefault(tensor.group, dtype)
        if dtype != of_group:
            raise FormatError(
                f"is {dtype}, but group {tensor.group} holds {of_group}",
                where=_place(tensor),
            )
    for index in range(count):
        if index not in dtypes:
            raise FormatError("has no tensors", where=f"group {index}")


def _check_names(tensors: Sequence[TensorPlan]) -> None:
    found: dict[str, TensorPlan] = {}
    aliases = []
    for tensor in tensors:
        name = tensor.info.name
        if name in found:
            raise FormatError("stands twice in the plan", where=_place(tensor))
        if name.startswith(RESERVED_PREFIXES):
            raise FormatError(f"{RESERVED} are reserved", where=_place(tensor))
        found[name] = tensor
        if tensor.info.alias_of is not None:
            aliases.append(tensor)
    for tensor in aliases:
        _check_alias(tensor, tensor.info.alias_of or "", found)


def _check_alias(
    tensor: TensorPlan, alias: str, found: Mapping[str, TensorPlan]
) -> None:
    target = found.get(alias)
    if target is None or target.kind == "alias":
        raise FormatError(
            f"is an alias of {alias[:80]!r}, no tensor", where=_place(tensor)
        )
    its, own = target.info, tensor.info
    if (its.dtype, its.shape) != (own.dtype, own.shape):
        raise FormatError(
            f"is an alias of {alias[:80]!r}, of another dtype or shape",
            where=_place(tensor),
        )


def _place(tensor: TensorPlan) -> str:
    return f"tensor {tensor.name[:80]!r}"
