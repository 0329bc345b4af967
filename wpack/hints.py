"""What modules inside a network put out, for a student to be compared with its teacher
by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .errors import TrainingError, UsageError
from .spec.patterns import REGEX_SECONDS, Pattern, TooSlow, matching
from .untouched import Untouched

WHERE = "finetune.distill.hints"


def modules(network: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Module]:
    """The modules that patterns match, by name; of those that one pattern matches
    inside each other, the outermost: ``blocks.*`` is each block.

    Raises:
        UsageError: A pattern matches nothing, or takes too long.
    """
    found = dict(network.named_modules())
    names = [name for name in found if name]
    parsed = {text: Pattern.parse(text) for text in patterns}
    try:
        matches = matching(list(parsed.values()), names)
    except TooSlow as error:
        raise UsageError(
            f"'re:{error.expression}' takes over {REGEX_SECONDS:g} s to match",
            where=WHERE,
        ) from None
    chosen: dict[str, nn.Module] = {}
    for text, pattern in parsed.items():
        if not matches[pattern]:
            top = ", ".join(name for name, _ in network.named_children())
            raise UsageError(
                f"{text!r} matches no module",
                where=WHERE,
                hint=f"The network is made of {top}" if top else "It has no modules",
            )
        matched = set(matches[pattern])
        chosen |= {
            name: found[name]
            for name in matches[pattern]
            if not matched & set(_above(name))
        }
    return chosen


def _above(name: str) -> Iterator[str]:
    """The names of the modules that a module is in."""
    while "." in name:
        name = name.rpartition(".")[0]
        yield name


class Outputs:
    """What some modules of a network put out while they are listened to.

    Attributes:
        heard: Module's name → its outputs, one for each time it was called.

    Args:
        listened: Module's name → module; given hooks, until :meth:`close`.
    """

    def __init__(self, listened: Mapping[str, nn.Module]) -> None:
        self.heard: dict[str, list[Tensor]] = {}
        self._names = tuple(listened)
        self._is_open = False
        self._untouched = {
            name: Untouched(partial(_mistake, name, hint="Name another module"))
            for name in listened
        }
        # Hooks that came and went with each step would be no part of a graph that was
        # compiled before.  These end the graph where they are, and are run as written.
        self._hooks = [
            module.register_forward_hook(self._hook(name))
            for name, module in listened.items()
        ]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear anew, for as long as the block lasts."""
        self.heard = {name: [] for name in self._names}
        self._is_open = True
        try:
            yield
            for untouched in self._untouched.values():
                untouched.settle()
        finally:
            self._is_open = False

    def forget(self) -> None:
        """Let go of what was heard, and of the graphs it hangs on."""
        self.heard = {}

    def close(self) -> None:
        """Take the hooks out of the network."""
        self.forget()
        for hook in self._hooks:
            hook.remove()

    def _hook(self, name: str) -> Any:
        def heard(module: nn.Module, args: Any, output: Any) -> None:
            if self._is_open:
                # An activation behind it may work in place.
                tensor = self._untouched[name].keep(_first_tensor(name, output))
                self.heard[name].append(tensor)

        return torch.compiler.disable(heard)  # type: ignore[no-untyped-call]


def pairs(student: Outputs, teacher: Outputs) -> Iterator[tuple[Tensor, Tensor]]:
    """What both put out in the same places, ``(examples, ...)`` each.

    Raises:
        TrainingError: They cannot be compared; the message says where and why.
    """
    for name, own in student.heard.items():
        taught = teacher.heard[name]
        for who, heard in (("student", own), ("teacher", taught)):
            if not heard:
                raise _mistake(name, f"the {who} does not call it", "Name another")
        if len(own) != len(taught):
            calls = f"the student calls it {len(own)} times, the teacher {len(taught)}"
            raise _mistake(name, calls)
        for one, other in zip(own, taught, strict=True):
            if one.shape != other.shape:
                shapes = f"puts out {tuple(one.shape)}, the teacher's {_shape(other)}"
                raise _mistake(name, f"the student's {shapes}")
            if not one.requires_grad:
                raise _mistake(name, "no gradient flows back from it")
            yield one, other


def _first_tensor(name: str, output: Any) -> Tensor:
    """The output, or the first tensor of floats in it; of no rank below 1."""
    for tensor in _tensors(output):
        if tensor.is_floating_point():
            return tensor.reshape(1) if tensor.ndim == 0 else tensor
    raise _mistake(name, f"puts out a {type(output).__name__} without a float tensor")


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from _tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _mistake(name: str, what: str, hint: str = "") -> TrainingError:
    return TrainingError(what, where=f"{WHERE}: module {name!r}", hint=hint)
