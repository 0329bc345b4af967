"""What the environment says: ``WPACK_*`` variables, and torchrun's of its processes."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator

import click
from click.core import ParameterSource

from ..report.names import printable
from ._settings import Settings

_PREFIX = "WPACK_"
#: What the library and the samples read themselves.
_OTHERS = {"WPACK_NO_MMAP", "WPACK_DATA"}


def is_one_of_several() -> bool:
    """Whether torchrun has started this process, and others."""
    return os.environ.get("WORLD_SIZE", "1") != "1"


def follows() -> bool:
    """Whether another process, the first of several, speaks for this one."""
    return is_one_of_several() and os.environ.get("RANK", "0") != "0"


def warn_of_unknown(context: click.Context, settings: Settings) -> None:
    """Say which variables mean nothing: a misspelt one would otherwise do nothing."""
    found = {name for name in os.environ if name.startswith(_PREFIX)} - _OTHERS
    if not found:
        return
    # Only now: this imports every command.
    known = {*_known(context.command, context), *_OTHERS}
    for name in sorted(found - known):
        close = difflib.get_close_matches(name, known, 1)
        hint = f", did you mean {close[0]}?" if close else ""
        settings.say(f"warning: no such variable: {printable(name)}{hint}")


def variable(error: click.BadParameter) -> str | None:
    """The variable that a refused value came from, if it came from one."""
    context, parameter = error.ctx, error.param
    if context is None or parameter is None or parameter.name is None:
        return None
    source = context.get_parameter_source(parameter.name)
    if source is not ParameterSource.ENVIRONMENT:
        return None
    names = _names(parameter, context)
    return next((name for name in names if os.environ.get(name)), None)


def _known(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from _names(parameter, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _known(inner, click.Context(inner, context, name))


def _names(parameter: click.Parameter, context: click.Context) -> list[str]:
    explicit = parameter.envvar or []
    names = [explicit] if isinstance(explicit, str) else list(explicit)
    if context.auto_envvar_prefix and parameter.name:
        names.append(f"{context.auto_envvar_prefix}_{parameter.name.upper()}")
    return names
