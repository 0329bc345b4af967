"""Patterns against a checkpoint: which pool makes which tensor, or part of one.

The rules, for each pool's patterns in turn:

- A glob or regular expression claims every tensor it matches that can be pooled: rank
  2 or more, of a poolable dtype, with elements, not under ``keep``, no alias.  A
  pattern that is a tensor's full name claims it whatever its rank.
- On a tensor that ``split`` cuts, a pattern with ``#part`` claims that part, one
  without claims all.  A tensor's parts are pooled all or not at all.
- A pattern that claims nothing is a mistake, and so is a second pool's claim.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..errors import SpecError
from ..table import Block
from ..tensors import BY_NAME, DType, TensorInfo
from .keeping import keep_groups
from .matches import matches_of
from .model import Spec
from .patterns import Pattern
from .problems import KeyPath, reasons, report, several, shown


@dataclass(frozen=True)
class Claims:
    """Who claims what.

    Attributes:
        parts: Every tensor's blocks, in order: its parts, or one block that is the
            whole.
        pools: Every pool's blocks, in checkpoint order, in the spec's order of pools.
        dtypes: Every pool's storage dtype.
        groups: Kept tensor → index of the pattern of ``keep_codecs`` that claims it;
            most have none.
        notes: What a user should know and need not change.
    """

    parts: Mapping[str, tuple[Block, ...]]
    pools: Mapping[str, tuple[Block, ...]]
    dtypes: Mapping[str, DType]
    groups: Mapping[str, int]
    notes: tuple[str, ...]


def claims(spec: Spec, infos: Sequence[TensorInfo]) -> Claims:
    """Resolve the spec's patterns against a checkpoint's tensors.

    Args:
        infos: All tensors, in checkpoint order.

    Raises:
        SpecError: Every rule broken, each with the place of its pattern in the spec.
    """
    return _Claiming(spec, infos).resolve()


class _Claiming:
    """One resolution; collects every problem on its way."""

    def __init__(self, spec: Spec, infos: Sequence[TensorInfo]) -> None:
        self.spec = spec
        self.infos = {info.name: info for info in infos}
        self.matches, self.problems = matches_of(spec, list(self.infos))
        self.kept = self._kept()
        self.cut_by: dict[str, str] = {}  # tensor → the split pattern that cuts it
        self.parts: dict[str, tuple[Block, ...]] = {
            name: (_whole(info),) for name, info in self.infos.items()
        }
        self.owners: dict[tuple[str, str], str] = {}  # (tensor, part) → pool

    def resolve(self) -> Claims:
        for pattern in self.spec.split:
            self._split(pattern)
        for name, pool in self.spec.pools.items():
            for index, text in enumerate(pool.tensors):
                self._claim(name, ("pools", name, "tensors", index), text)
        self._check_parts()
        pools: dict[str, list[Block]] = {name: [] for name in self.spec.pools}
        for block in (b for blocks in self.parts.values() for b in blocks):
            if (owner := self.owners.get((block.tensor, block.part))) is not None:
                pools[owner].append(block)
        dtypes = {name: self._dtype(name, blocks) for name, blocks in pools.items()}
        pooled = {name: pool for (name, _), pool in self.owners.items()}
        groups, problems = keep_groups(self.spec, self.infos, self.matches, pooled)
        if self.problems + problems:
            raise SpecError(report(self.problems + problems))
        return Claims(
            self.parts,
            {name: tuple(blocks) for name, blocks in pools.items()},
            {name: dtype for name, dtype in dtypes.items() if dtype is not None},
            groups,
            tuple(self._notes()),
        )

    def _mistake(self, path: KeyPath, what: str) -> None:
        self.problems.append(self.spec.problem(path, what))

    def _kept(self) -> set[str]:
        """Names under ``keep``; who keeps an alias keeps the tensor it is."""
        kept = {name for text in self.spec.keep for name in self.matches[text]}
        return kept | {self.infos[name].alias_of or name for name in kept}

    def _split(self, pattern: str) -> None:
        """Cut every tensor that a split pattern matches."""
        failures: list[str] = []
        for name in self.matches[pattern]:
            if self.infos[name].alias_of is not None:
                continue
            other = self.cut_by.setdefault(name, pattern)
            try:
                if other != pattern:
                    raise ValueError(f"{shown(name)} is cut by {shown(other)} too")
                self.parts[name] = _cut(self.infos[name], self.spec.split[pattern])
            except ValueError as error:
                failures.append(str(error))
        if failures:
            also = f" (and so for {len(failures) - 1} more)" if failures[1:] else ""
            self._mistake(("split", pattern), failures[0] + also)

    def _claim(self, pool: str, path: KeyPath, text: str) -> None:
        """Claim what a pool's pattern matches."""
        pattern = Pattern.parse(text)
        refused: list[str] = []
        lacking: list[str] = []
        taken: dict[str, list[str]] = {}
        for name in self.matches[text]:
            if (why := self._why_not(name, pattern)) is not None:
                refused.append(why)
                continue
            blocks = [b for b in self.parts[name] if pattern.part in ("", b.part)]
            if not blocks and not self._split_failed(name):
                lacking.append(name)
            for block in blocks:
                owner = self.owners.setdefault((name, block.part), pool)
                if owner != pool:
                    taken.setdefault(owner, []).append(block.label)
        if refused and len(refused) == len(self.matches[text]):
            self._mistake(path, f"{shown(text)} claims nothing: {reasons(refused)}")
        if lacking:
            self._mistake(path, self._lacks(pattern.part, lacking))
        for owner, labels in taken.items():
            what = f"{shown(text)} claims {several(labels)}, which pool {owner!r} has"
            self._mistake(path, what)

    def _why_not(self, name: str, pattern: Pattern) -> str | None:
        """Why a matched tensor cannot be claimed; None where it can."""
        info = self.infos[name]
        if info.alias_of is not None:
            return f"the same memory as {shown(info.alias_of)}"
        if name in self.kept:
            return "under keep"
        if info.numel == 0:
            return "without elements"
        if not info.dtype.poolable:
            return f"of dtype {info.dtype}, which no pool holds"
        if len(info.shape) < 2 and not pattern.names(name):
            return "of rank below 2 and not named in full"
        return None

    def _split_failed(self, name: str) -> bool:
        return name in self.cut_by and len(self.parts[name]) == 1

    def _lacks(self, part: str, names: Sequence[str]) -> str:
        has = ", ".join(block.part for block in self.parts[names[0]])
        why = f"the parts are {has}" if has else "no split pattern makes one"
        return f"no part {part!r} in {several(names)}: {why}"

    def _check_parts(self) -> None:
        """Parts are pooled all or not at all: what is kept is stored whole."""
        halves: dict[tuple[str, tuple[str, ...]], list[str]] = {}
        for name, pattern in self.cut_by.items():
            blocks = self.parts[name]
            free = tuple(b.part for b in blocks if (name, b.part) not in self.owners)
            if 0 < len(free) < len(blocks):
                halves.setdefault((pattern, free), []).append(name)
        for (pattern, free), names in halves.items():
            what = f"no pool claims {', '.join(free)} of {several(names)}"
            self._mistake(("split", pattern), f"{what}, but pools claim the rest")

    def _dtype(self, pool: str, blocks: Sequence[Block]) -> DType | None:
        if (wanted := self.spec.pools[pool].dtype) is not None:
            return BY_NAME[wanted]
        dtypes = Counter(self.infos[block.tensor].dtype for block in blocks)
        if len(dtypes) > 1:
            counts = ", ".join(f"{dtype} {count}" for dtype, count in dtypes.items())
            what = f"its tensors differ in dtype ({counts}); say dtype: or make a pool"
            self._mistake(("pools", pool), f"{what} for each")
        return next(iter(dtypes), None)

    def _notes(self) -> Iterator[str]:
        """What globs swept in and pools cannot hold."""
        for pool, spec in self.spec.pools.items():
            swept = dict.fromkeys(n for t in spec.tensors for n in self.matches[t])
            left = [
                name
                for name in swept
                if not (info := self.infos[name]).dtype.poolable
                and info.alias_of is None
                and name not in self.kept
                and len(info.shape) >= 2
            ]
            if left:
                dtypes = sorted({str(self.infos[name].dtype) for name in left})
                why = f"a pool cannot hold {', '.join(dtypes)}"
                yield f"pool {pool!r} leaves out {several(left)}: {why}"


def _whole(info: TensorInfo) -> Block:
    return Block(info.name, info.shape, 0, info.numel, "")


def _cut(
    info: TensorInfo, parts: tuple[str, ...] | Mapping[str, int]
) -> tuple[Block, ...]:
    """The parts of a tensor, in order, along dim 0.

    Raises:
        ValueError: Its rows cannot be cut so.
    """
    if not info.shape:
        raise ValueError(f"{shown(info.name)} is a scalar, it has no rows to cut")
    rows = info.shape[0]
    if not isinstance(parts, Mapping):
        if rows % len(parts):
            raise ValueError(
                f"{shown(info.name)} has {rows} rows, not {len(parts)} equal parts"
            )
        parts = dict.fromkeys(parts, rows // len(parts))
    if sum(parts.values()) != rows:
        raise ValueError(
            f"{shown(info.name)} has {rows} rows, its parts have {sum(parts.values())}"
        )
    blocks: list[Block] = []
    first = 0
    for part, count in parts.items():
        shape = (count, *info.shape[1:])
        blocks.append(Block(info.name, shape, first, math.prod(shape), part))
        first += math.prod(shape)
    return tuple(blocks)
