"""The machine that wpack runs on, as a bug report needs it."""

from __future__ import annotations

import mmap
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

from .document import document
from .names import printable
from .table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_PACKAGES = ("wpack", "torch", "numpy", "safetensors", "accelerate", "click", "rich")


@dataclass(frozen=True)
class EnvironmentReport:
    """``wpack env``: names and what they have here."""

    values: Mapping[str, str]

    @classmethod
    def here(cls) -> EnvironmentReport:
        """This machine; torch is not imported for it."""
        variables = {k: v for k, v in os.environ.items() if k.startswith("WPACK_")}
        return cls(
            {
                **{package: version(package) for package in _PACKAGES},
                "python": platform.python_version(),
                "platform": platform.platform(),
                "processors": str(os.cpu_count()),
                "page size": str(mmap.PAGESIZE),
                "memfd": "yes" if hasattr(os, "memfd_create") else "no",
                **dict(sorted(variables.items())),
            }
        )

    def document(self) -> dict[str, Any]:
        """The same names and values."""
        return document(environment=dict(self.values))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        names = [printable(name) for name in self.values]
        yield Table(
            [
                Column("what", names),
                Column("here", [printable(value) for value in self.values.values()]),
            ]
        )


def version(package: str) -> str:
    """The installed version of a package, in words where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
