"""wpack ties a trained network's weights to a small pool and stores it so that loading
is a memory map.

    import wpack

    state = wpack.load_file("model.wpool")           # name → tensor, views of the file
    wpack.load_model(model, "model.wpool")           # the same, into a module
    with wpack.open("model.wpool") as file:          # one tensor at a time
        weight = file.get_tensor("conv1.weight")

The command line's verbs are functions of :mod:`wpack.api`.  Nothing heavy is imported
before it is used: ``import wpack`` costs milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import api as api
    from .errors import WpackError as WpackError
    from .loader import PoolFile as PoolFile
    from .loader import load_file as load_file
    from .loader import load_model as load_model
    from .loader import open as open
    from .tie import Tied as Tied

# Public name → the module that it, or a name of it, is.
_PUBLIC = {
    "PoolFile": "loader",
    "Tied": "tie",
    "WpackError": "errors",
    "api": "api",
    "load_file": "loader",
    "load_model": "loader",
    "open": "loader",
}

__all__ = ["PoolFile", "Tied", "WpackError", "api", "load_file", "load_model", "open"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_PUBLIC[name]}", __name__)
    value = module if name == _PUBLIC[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
