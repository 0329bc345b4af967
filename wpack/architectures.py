"""Networks by name: a user's own function, or a model of torchvision's or timm's.

Only structure comes from a library, never its weights: those are the checkpoint's, and
nothing is downloaded.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from . import references
from .errors import UsageError

#: Options by which a library would download weights.
_WEIGHTS = ("pretrained", "weights", "weights_backbone")


def make_model(
    reference: str, options: Mapping[str, Any], folder: Path | str = "."
) -> nn.Module:
    """Make a network.

    Args:
        reference: ``torchvision:NAME`` or ``timm:NAME``, of a model that the library
            lists; or ``module:attribute`` or ``./file.py:attribute`` of a function or
            class.  What the library's own package has under the name comes first.
        options: Keyword arguments for it.
        folder: Where relative files start.

    Raises:
        UsageError: There is no such model, or the library is not installed, or the
            options ask for weights, or making it failed.
    """
    library, _, name = reference.partition(":")
    if library not in _FACTORIES:
        found = references.resolve(reference, folder)
    else:
        package = installed(library, reference)
        if hasattr(package, name.partition(".")[0]):
            found = references.resolve(reference, folder)
        else:
            _refuse_weights(reference, options)
            found = _FACTORIES[library](name, reference)
    made: nn.Module = references.call(reference, found, options, nn.Module)
    return made


def installed(library: str, where: str) -> ModuleType:
    """Import a library of the extra ``vision``.

    Raises:
        UsageError: It is not installed, or is broken.
    """
    try:
        return importlib.import_module(library)
    except ModuleNotFoundError:
        raise UsageError(
            f"needs {library}, which is not installed",
            where=where,
            hint="pip install 'wpack[vision]'",
        ) from None
    except Exception as error:
        # torchvision does that where it was built for another torch.
        raise UsageError(
            f"{library} cannot be imported: {error}",
            where=where,
            hint="Install the release of it that is made for your torch",
        ) from error


def _torchvision(name: str, reference: str) -> Callable[..., Any]:
    models = importlib.import_module("torchvision.models")
    _check(name, models.list_models(module=models), reference)
    return partial(models.get_model, name, weights=None)


def _timm(name: str, reference: str) -> Callable[..., Any]:
    timm = importlib.import_module("timm")
    _check(name, timm.list_models(), reference)
    return partial(timm.create_model, name, pretrained=False)


_FACTORIES = {"torchvision": _torchvision, "timm": _timm}


def _check(name: str, known: list[str], reference: str) -> None:
    """Refuse a name that the library does not list: some others would make timm ask a
    hub for them."""
    if name in known:
        return
    library = reference.partition(":")[0]
    close = difflib.get_close_matches(name, known, 1)
    raise UsageError(
        f"{library} has no model {name!r} for images of one class each",
        where=reference,
        hint=f"Did you mean {close[0]!r}?" if close else "",
    )


def _refuse_weights(reference: str, options: Mapping[str, Any]) -> None:
    for name in _WEIGHTS:
        if options.get(name):
            raise UsageError(
                f"option {name!r} would download weights",
                where=reference,
                hint="Leave it out: the weights are the checkpoint's",
            )
