"""Frozen dataclasses whose fields are YAML keys: what techniques and codecs are.

One file a class; the file's name is the class's name in a spec and in a ``.wpool``.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from .errors import SpecError

_Kind = TypeVar("_Kind", bound="Options")


@dataclasses.dataclass(frozen=True)
class Options:
    """Fields, all with defaults, that a spec sets and a file remembers."""

    #: The name in a spec and in a file: the name of the file that defines the class.
    name: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.name = cls.__module__.rpartition(".")[2]

    @classmethod
    def from_options(cls: type[_Kind], options: Mapping[str, Any]) -> _Kind:
        """The value with these fields, as :meth:`options` gave them.

        Raises:
            ValueError: A key is no field, or its value is of another type.
        """
        defaults = cls().fields()
        for key, value in options.items():
            if key not in defaults:
                raise ValueError(f"has no option {key!r}")
            if type(value) is not type(_plain(defaults[key])):
                kind = type(_plain(defaults[key])).__name__
                raise ValueError(f"option {key!r} must be {kind}, got {value!r:.80}")
        return cls(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        )

    def fields(self) -> dict[str, Any]:
        """Every field and its value."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def options(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as plain JSON values."""
        default = type(self)().fields()
        return {
            key: _plain(value)
            for key, value in self.fields().items()
            if value != default[key]
        }


def listing(folder: str) -> list[str]:
    """The names of what a package defines, one a file: its modules, but for those that
    start with an underscore.

    Args:
        folder: The package's full name.
    """
    path = importlib.import_module(folder).__path__
    return sorted(m.name for m in pkgutil.iter_modules(path) if m.name[0] != "_")


def defined(folder: str, name: str, what: str) -> type[Any]:
    """The class that the file ``name`` of a package defines.

    Args:
        what: What to call such a class in a message: ``"technique"``.

    Raises:
        SpecError: There is no such file; the message lists those there are.
    """
    names = listing(folder)
    if name not in names:
        close = difflib.get_close_matches(name, names, 1)
        hint = f", did you mean {close[0]!r}?" if close else ""
        there_are = ", ".join(names)
        raise SpecError([f"unknown {what} {name!r}{hint} (there are: {there_are})"])
    module = importlib.import_module(f"{folder}.{name}")
    (found,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Options)
        and value.__module__ == module.__name__
    )
    return found


def _plain(value: Any) -> Any:
    """Tuples as lists and mappings as dicts, as JSON gives them back."""
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value
