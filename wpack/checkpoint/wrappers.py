"""State dicts inside the dictionaries that training scripts wrap around them.

Pure functions of dictionaries: what counts as a tensor is the caller's to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import CheckpointError, UsageError
from ..names import name_problem, shown

#: Names under which training scripts store a model.
KNOWN = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net"),
    *("network", "weights", "params", "ema", "model_ema", "ema_model"),
    *("state_dict_ema", "ema_state_dict", "model_ema_state_dict", "params_ema"),
)
#: What torch's wrappers of a module put before its names.
PREFIXES = ("module.", "_orig_mod.")
#: How deep state dicts are looked for.
_DEPTH = 4
#: How many names a message lists.
_LISTED = 5

RECIPE = (
    "Where you trust it, save its tensors alone:"
    " torch.save(model.state_dict(), 'model.pt')"
)
IsTensor = Callable[[Any], bool]


@dataclass(frozen=True)
class StateDict:
    """A state dict found inside a loaded file.

    Attributes:
        tensors: By name, in order.
        keys: The way to it from the outermost dictionary.
        notes: What was unwrapped and what was left out.
    """

    tensors: dict[str, Any]
    keys: tuple[str, ...]
    notes: tuple[str, ...]


def find(tree: Any, key: str | None, where: str, is_tensor: IsTensor) -> StateDict:
    """Find the one state dict in what a file holds.

    Args:
        tree: What the file's unpickling gave.
        key: The user's choice, a dotted path of keys, or None.
        where: The file, for messages.

    Raises:
        UsageError: There are several, or none under ``key``.
        CheckpointError: There is none, or a tensor in it has no proper name.
    """
    search = _Search(where, is_tensor)
    node, keys = (tree, []) if key is None else search.follow(tree, key)
    left: list[tuple[Any, Any]] = []
    for depth in range(_DEPTH):
        step = search.step(node, chosen=key is not None and not depth)
        if step is None:
            break
        left += [item for item in node.items() if item[0] != step]
        node, keys = node[step], [*keys, step]
    tensors, others = search.tensors(node)
    notes = [f"took the tensors under {'.'.join(keys)!r}"] if keys else []
    if left or others:
        notes.append(f"left out {_listing([*others, *left])}")
    return StateDict(tensors, tuple(keys), tuple(notes))


def common_prefix(names: Sequence[str]) -> str:
    """The wrappers' prefixes that every name carries, joined, or ""."""
    prefix = ""
    while names:
        found = [p for p in PREFIXES if all(_goes_on(n, prefix + p) for n in names)]
        if not found:
            break
        prefix += found[0]
    return prefix


def _goes_on(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and len(name) > len(prefix)


class _Search:
    def __init__(self, where: str, is_tensor: IsTensor) -> None:
        self.where = where
        self.is_tensor = is_tensor

    def follow(self, tree: Any, key: str) -> tuple[Any, list[str]]:
        """The dictionary at a dotted path, whose keys may hold dots themselves."""
        node, keys, rest = tree, [], key
        while rest:
            step = rest
            while isinstance(node, dict) and step not in node and "." in step:
                step = step.rpartition(".")[0]
            if not isinstance(node, dict) or not isinstance(node.get(step), dict):
                raise UsageError(
                    f"has no tensors under --key {key}",
                    where=self.where,
                    hint=self._choices(tree),
                )
            node = node[step]
            keys.append(step)
            rest = rest[len(step) + 1 :]
        return node, keys

    def _choices(self, tree: Any) -> str:
        listed = ", ".join(map(shown, self.candidates(tree)[:20]))
        return f"It may be one of: {listed}" if listed else "Leave --key out"

    def step(self, node: Any, chosen: bool) -> str | None:
        """The key to go on with, or None where ``node`` is the state dict."""
        candidates = self.candidates(node)
        direct = isinstance(node, dict) and any(map(self.is_tensor, node.values()))
        known = [name for name in candidates if name in KNOWN]
        if direct and (chosen or not known):
            return None
        wanted = known or candidates
        if len(wanted) > 1:
            listed = ", ".join(map(shown, wanted[:20]))
            raise UsageError(
                f"holds several models: {listed}",
                where=self.where,
                hint=f"Choose one, as in --key {wanted[0]}",
            )
        return wanted[0] if wanted else None

    def candidates(self, node: Any) -> list[str]:
        """Keys of a dictionary under which there are tensors with names."""
        if not isinstance(node, dict):
            return []
        barren: set[tuple[int, int]] = set()
        return [
            key
            for key, value in node.items()
            if isinstance(key, str) and self._holds(value, _DEPTH, barren)
        ]

    def _holds(self, node: Any, depth: int, barren: set[tuple[int, int]]) -> bool:
        """Whether named tensors are in a dictionary or in one inside it.

        ``barren`` remembers where there were none: a small file can name the same
        dictionaries over and over.
        """
        if not isinstance(node, dict) or not depth or (id(node), depth) in barren:
            return False
        named = [value for key, value in node.items() if isinstance(key, str)]
        if any(map(self.is_tensor, named)):
            return True
        if any(self._holds(value, depth - 1, barren) for value in named):
            return True
        barren.add((id(node), depth))
        return False

    def tensors(self, node: Any) -> tuple[dict[str, Any], list[tuple[Any, Any]]]:
        """The tensors of a state dict, and the items that are none."""
        if not isinstance(node, Mapping):
            raise self._refuse(f"holds {_kind(node)}, not a dict of tensors")
        tensors: dict[str, Any] = {}
        left: list[tuple[Any, Any]] = []
        for key, value in node.items():
            if not self.is_tensor(value):
                left.append((key, value))
            elif not isinstance(key, str):
                raise self._refuse(
                    f"names a tensor {_named(key)}; a name must be a string, not"
                    f" {_kind(key)}"
                )
            elif problem := name_problem(key):
                raise self._refuse(problem)
            else:
                tensors[key] = value
        if not tensors:
            raise self._refuse("holds no tensors")
        return tensors, left

    def _refuse(self, what: str) -> CheckpointError:
        return CheckpointError(what, where=self.where, hint=RECIPE)


def _listing(items: Sequence[tuple[Any, Any]]) -> str:
    """``'epoch' (int), 'args' (dict) and 3 more``."""
    listed = [
        f"{_named(key)} ({type(value).__name__})" for key, value in items[:_LISTED]
    ]
    more = len(items) - len(listed)
    return ", ".join(listed) + (f" and {more} more" if more else "")


def _named(key: Any) -> str:
    """A key as a message may show it.  One that holds others, tensors perhaps, is told
    by its kind alone: to write it out can take lines, or fail."""
    if isinstance(key, str):
        return shown(key)
    is_plain = key is None or isinstance(key, int | float | bytes)
    return f"{key!r:.40}" if is_plain else _kind(key)


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
