"""Which kept tensors codecs store together: the patterns of ``keep_codecs``.

A pattern claims every kept tensor that it matches and codecs can store: of any rank, of
a dtype that a pool may have, with elements, no alias.  What pools make is passed over.
A pattern's tensors are of one dtype.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..tensors import TensorInfo
from .model import Spec
from .problems import Problem, reasons, several, shown


def keep_groups(
    spec: Spec,
    infos: Mapping[str, TensorInfo],
    matches: Mapping[str, Sequence[str]],
    pooled: Mapping[str, str],
) -> tuple[dict[str, int], list[Problem]]:
    """Kept tensor → index of the pattern that claims it, and what is wrong with the
    patterns.

    Args:
        matches: Pattern → the tensors it matches.
        pooled: Tensor → the pool that makes it, or part of it.
    """
    groups: dict[str, int] = {}
    problems: list[Problem] = []
    patterns = list(spec.keep_codecs)
    for index, text in enumerate(patterns):
        whys = {name: _why_not(infos[name], pooled.get(name)) for name in matches[text]}
        free = [name for name, why in whys.items() if not why]
        mistakes: list[str] = []
        if whys and not free:
            why = reasons([*whys.values()])
            mistakes.append(f"{shown(text)} claims nothing: {why}")
        taken: dict[int, list[str]] = {}
        for name in free:
            owner = groups.setdefault(name, index)
            if owner != index:
                taken.setdefault(owner, []).append(name)
        for owner, names in taken.items():
            has = shown(patterns[owner])
            mistakes.append(f"{shown(text)} claims {several(names)}, which {has} has")
        dtypes = Counter(infos[name].dtype for name in free)
        if len(dtypes) > 1:
            counts = ", ".join(f"{dtype} {count}" for dtype, count in dtypes.items())
            what = f"the tensors of {shown(text)} differ in dtype ({counts})"
            mistakes.append(f"{what}; write a pattern for each")
        path = ("keep_codecs", text)
        problems += [spec.problem(path, what) for what in mistakes]
    return groups, problems


def _why_not(info: TensorInfo, pool: str | None) -> str:
    """Why a matched tensor cannot be claimed; "" where it can."""
    if info.alias_of is not None:
        return f"the same memory as {shown(info.alias_of)}"
    if pool is not None:
        return f"made from pool {pool!r}"
    if info.numel == 0:
        return "without elements"
    if not info.dtype.poolable:
        return f"of dtype {info.dtype}, which no codec stores"
    return ""
