"""The command line called in this process, and an api that only takes notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Run = Callable[..., "Result"]


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


@dataclass
class Calls:
    """Stands in for :mod:`wpack.api`: what was called with what, and what it gives.

    Attributes:
        gives: Name → what the function returns; an exception is raised, a function is
            called with the arguments.
    """

    gives: dict[str, Any] = field(default_factory=dict)
    made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = field(
        default_factory=list
    )

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.made.append((name, args, kwargs))
            found = self.gives[name]
            if isinstance(found, BaseException):
                raise found
            return found(*args, **kwargs) if callable(found) else found

        return call
