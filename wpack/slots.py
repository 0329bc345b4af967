"""Where a module holds the tensors of a plan."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from .errors import TrainingError
from .plan import Plan

#: Names that an error message lists before it says how many there are.
LISTED = 5


class Slot(NamedTuple):
    """A parameter or persistent buffer, and the submodule that holds it."""

    owner: nn.Module
    attribute: str
    tensor: Tensor

    def put(self, tensor: Tensor) -> None:
        """Hold ``tensor`` here instead; a parameter stays one, a buffer too."""
        delattr(self.owner, self.attribute)
        if isinstance(tensor, nn.Parameter):
            self.owner.register_parameter(self.attribute, tensor)
        else:
            self.owner.register_buffer(self.attribute, tensor)


def slots(module: nn.Module) -> Iterator[tuple[str, Slot]]:
    """All that ``module.state_dict()`` names; a shared tensor once under each name."""
    for path, owner in module.named_modules(remove_duplicate=False):
        prefix = f"{path}." if path else ""
        for name, parameter in owner._parameters.items():
            if parameter is not None:
                yield prefix + name, Slot(owner, name, parameter)
        for name, buffer in owner._buffers.items():
            if buffer is not None and name not in owner._non_persistent_buffers_set:
                yield prefix + name, Slot(owner, name, buffer)


def match(module: nn.Module, plan: Plan) -> dict[str, tuple[str, ...]]:
    """Check that a module is what a plan was made for.

    Returns:
        Tensor of the plan, no alias → the names under which the module holds it: its
        own, its aliases in the plan, and whatever is the same parameter in the module.

    Raises:
        TrainingError: The module lacks tensors of the plan, holds them in another
            shape, holds tensors that the plan does not know (they would be trained and
            not saved), or holds as one what the plan has as two.
    """
    found = dict(slots(module))
    problems = [*_missing(found, plan), *_misshapen(found, plan)]
    problems += [*_unplanned(found, plan), *_contradictions(found, plan)]
    if problems:
        raise TrainingError(
            f"the model is not the one planned for: {'; '.join(problems)}",
            where=type(module).__name__,
            hint=_hint(found, plan),
        )
    held: dict[str, list[str]] = {t.name: [] for t in plan.tensors if t.kind != "alias"}
    roots = {id(found[n].tensor): plan.aliases.get(n, n) for n in plan.by_name}
    for name, slot in found.items():
        if id(slot.tensor) in roots:
            held[roots[id(slot.tensor)]].append(name)
    return {root: tuple(names) for root, names in held.items()}


def take_over(module: nn.Module, plan: Plan, held: Mapping[str, Sequence[str]]) -> None:
    """Take pooled parameters out of a module, and tie aliases of kept ones again.

    Args:
        held: What :func:`match` gave.
    """
    found = dict(slots(module))
    for root, names in held.items():
        places = {(id(found[n].owner), found[n].attribute): found[n] for n in names}
        for slot in places.values():
            if plan.by_name[root].kind == "pooled":
                delattr(slot.owner, slot.attribute)
            elif slot.tensor is not found[root].tensor:
                slot.put(found[root].tensor)


def _missing(found: dict[str, Slot], plan: Plan) -> Iterator[str]:
    yield from _listing("not in it", [n for n in plan.by_name if n not in found])


def _misshapen(found: dict[str, Slot], plan: Plan) -> Iterator[str]:
    shapes = {
        t.name: (tuple(found[t.name].tensor.shape), t.info.shape)
        for t in plan.tensors
        if t.name in found
    }
    yield from _listing(
        "of another shape",
        [f"{n} {has}, not {to}" for n, (has, to) in shapes.items() if has != to],
    )


def _unplanned(found: dict[str, Slot], plan: Plan) -> Iterator[str]:
    """Integer buffers (counters, positions) may come on top: they are not trained."""
    known = {id(slot.tensor) for name, slot in found.items() if name in plan.by_name}
    yield from _listing(
        "not in the plan",
        [
            name
            for name, slot in found.items()
            if id(slot.tensor) not in known and slot.tensor.is_floating_point()
        ],
    )


def _contradictions(found: dict[str, Slot], plan: Plan) -> Iterator[str]:
    sharing: dict[int, set[str]] = {}
    for name in plan.by_name:
        if name in found:
            roots = sharing.setdefault(id(found[name].tensor), set())
            roots.add(plan.aliases.get(name, name))
    yield from _listing(
        "one in it and two in the plan",
        [
            " = ".join(sorted(roots))
            for roots in sharing.values()
            if len(roots) > 1 and any(plan.by_name[r].kind == "pooled" for r in roots)
        ],
    )


def _listing(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = ", …" if len(names) > LISTED else ""
        yield f"{len(names)} {what} ({', '.join(names[:LISTED])}{more})"


def _hint(found: dict[str, Slot], plan: Plan) -> str:
    missing = [name for name in plan.by_name if name not in found]
    unplanned = [name for name in found if name not in plan.by_name]
    for name in missing:
        close = difflib.get_close_matches(name, unplanned, 1, cutoff=0.5)
        if close:
            return f"Is {close[0]!r} what the plan calls {name!r}?"
    return "Build the model that the checkpoint belongs to"
