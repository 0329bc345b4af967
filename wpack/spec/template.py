"""The starter spec of ``wpack spec init``: a checkpoint's own tensors, grouped."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ..errors import CheckpointError
from ..tensors import DType, TensorInfo
from .patterns import exactly, role, role_regex
from .scalars import quoted

#: Share of the model's weights from which a repeated role gets a pool.
SHARE = 0.01
#: Kept roles that are listed.
MOST_KEPT = 20

_FUSED = ("qkv", "query_key_value", "c_attn", "in_proj")
_COMMON = ("weight", "kernel")

_HEAD = """\
# Pool spec for {name}
# {weights} weights in {tensors} tensors, {size}.
# `wpack plan CHECKPOINT -s SPEC` shows what this comes to.

version: 1
"""
_SPLIT = """
# A fused weight can be cut along dim 0 into parts that have pools of their own: take
# the # away, and claim {example} and so on, in three pools.
# split:
"""
_POOLS = """
# Tensors of one role share backing weights.  Size: ratio (working weights for each
# backing weight), or size: 1.5M (backing weights), or bytes: 4MiB.  A pool can be
# stored in fewer bits a weight: codecs: [int: 4, zstd].
pools:
"""
_KEPT = """
# What no pool claims is stored as it is, and so is everything of rank below 2 (biases,
# norms).  `keep: ["head.*"]` shields tensors from wide patterns; `keep_codecs: {"*":
# [int, zstd]}` stores those that match together, in fewer bits.
"""
_FINETUNE = """
# To train the backing weights (`wpack finetune`):
# finetune:
#   task: ./task.py:task  # or module:attribute, or a built-in task's name
#   epochs: 10
#   batch_size: 128
#   optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.05}
#   schedule: {name: cosine, warmup: 0.05}
#   distill: {weight: 0.9, temperature: 4.0}  # the teacher is the checkpoint itself
#   gradual: 0.0  # 0.25 fades the ties in over a quarter of the steps
#   precision: auto
#   seed: 0
"""


@dataclass(frozen=True)
class _Group:
    """Tensors of one role and one dtype."""

    role: str
    dtype: DType
    infos: tuple[TensorInfo, ...]

    @property
    def numel(self) -> int:
        return sum(info.numel for info in self.infos)

    @property
    def nbytes(self) -> int:
        return self.numel * self.dtype.itemsize

    @property
    def is_fused(self) -> bool:
        """Whether it looks like queries, keys and values stacked along dim 0."""
        return any(word in self.role for word in _FUSED) and all(
            # GPT-2 stacks them along dim 1, where a part is not one range.
            info.shape[0] % 3 == 0 and info.shape[1] != 3 * info.shape[0]
            for info in self.infos
        )


def starter(infos: Sequence[TensorInfo], filename: str) -> str:
    """A commented spec to begin with: one pool of ratio 2 for each role of tensors
    that is repeated from block to block and matters in size.

    Args:
        infos: All tensors, in checkpoint order.
        filename: What the spec calls the checkpoint.

    Returns:
        YAML that parses, and whose patterns resolve against ``infos``.

    Raises:
        CheckpointError: No tensor could be pooled.
    """
    stored = [info for info in infos if info.alias_of is None]
    candidates = [
        i for i in stored if i.dtype.poolable and len(i.shape) >= 2 and i.numel
    ]
    if not candidates:
        raise CheckpointError(
            "no tensor that a pool could hold: none is of rank 2 or more and of a"
            " float dtype",
            where=filename,
        )
    total = sum(info.numel for info in stored)
    groups = _grouped(candidates)
    pooled = _worth_pooling(groups, total)
    patterns = {group: _patterns(group, groups) for group in pooled}
    lines = [
        _HEAD.format(
            name=filename if filename.isprintable() else quoted(filename),
            weights=f"{total:,}",
            tensors=len(stored),
            size=_size(sum(info.nbytes for info in stored)),
        ),
        *_split_lines([patterns[group][0] for group in pooled if group.is_fused]),
        _POOLS,
    ]
    for name, group in zip(_names(pooled), pooled, strict=True):
        lines += _pool_lines(name, group, patterns[group], total)
    lines += _kept_lines([group for group in groups if group not in patterns])
    return "".join([*lines, _FINETUNE])


def _grouped(infos: Sequence[TensorInfo]) -> list[_Group]:
    """Tensors by role; all as one role where none is repeated."""
    roles = {info.name: role(info.name) for info in infos}
    if len(set(roles.values())) == len(infos):
        roles = dict.fromkeys(roles, "*")
    found: dict[tuple[str, DType], list[TensorInfo]] = {}
    for info in infos:
        found.setdefault((roles[info.name], info.dtype), []).append(info)
    return [_Group(*key, tuple(members)) for key, members in found.items()]


def _worth_pooling(groups: Sequence[_Group], total: int) -> list[_Group]:
    """Repeated roles that matter; all repeated ones if none does; else every role."""
    repeated = [group for group in groups if len(group.infos) > 1]
    large = [group for group in repeated if group.numel >= SHARE * total]
    return large or repeated or list(groups)


def _patterns(group: _Group, groups: Sequence[_Group]) -> list[str]:
    """Patterns that match the group's tensors and no other group's."""
    names = [info.name for info in group.infos]
    rivals = [other for other in groups if other is not group]
    if len(names) == 1 or any(other.role == group.role for other in rivals):
        return [exactly(name) for name in names]
    others = (info.name for rival in rivals for info in rival.infos)
    is_plain = all(exactly(name) == name for name in names)
    if is_plain and not any(fnmatchcase(other, group.role) for other in others):
        return [group.role]
    # The glob's * crosses dots and meets other roles; digits do not.
    return [role_regex(names[0])]


def _names(groups: Sequence[_Group]) -> list[str]:
    """A name for each pool: the end of its role, longer where two end alike."""
    names: list[str] = []
    for group in groups:
        words = [w for w in group.role.split(".") if w not in ("", "*", *_COMMON)]
        ends = ["_".join(words[-count:]) for count in range(2, len(words) + 1)]
        names.append(_unused(ends or words or ["main"], names))
    return names


def _unused(wishes: Sequence[str], used: Sequence[str]) -> str:
    """The first wish that is free, as a pool's name; the last one numbered if none."""
    clean = [re.sub(r"\W+", "_", wish, flags=re.ASCII)[-50:] for wish in wishes]
    numbered = (f"{clean[-1]}_{number}" for number in range(2, len(used) + 3))
    return next(name for name in [*clean, *numbered] if name not in used)


def _split_lines(patterns: Sequence[str]) -> Iterator[str]:
    if patterns:
        yield _SPLIT.format(example=quoted(f"{patterns[0]}#q"))
    for pattern in patterns:
        yield f"#   {quoted(pattern)}: [q, k, v]\n"


def _pool_lines(
    name: str, group: _Group, patterns: Sequence[str], total: int
) -> Iterator[str]:
    shapes = dict.fromkeys("x".join(map(str, info.shape)) for info in group.infos)
    count = len(group.infos)
    yield f"  # {count} tensor{'s' * (count > 1)} of {' and '.join([*shapes][:3])}"
    yield ", …" if len(shapes) > 3 else ""
    yield f": {group.numel:,} weights, {group.numel / total:.1%} of the model;\n"
    yield f"  # {_size(group.nbytes)} of {group.dtype}, half of that at ratio 2.\n"
    yield f"  {name}:\n"
    yield "    technique: global\n"
    yield f"    tensors: [{', '.join(map(quoted, patterns))}]\n"
    yield "    ratio: 2.0\n"


def _kept_lines(groups: Sequence[_Group]) -> Iterator[str]:
    yield _KEPT
    yield "# Not claimed here:\n" if groups else ""
    for group in groups[:MOST_KEPT]:
        yield f"#   {quoted(group.role)}: {group.numel:,} weights\n"
    if groups[MOST_KEPT:]:
        yield f"#   … and {len(groups) - MOST_KEPT} more\n"


def _size(nbytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:,.3g} GB"
