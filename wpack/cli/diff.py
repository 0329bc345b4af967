"""``wpack diff``."""

from __future__ import annotations

import click

from . import _options
from ._settings import Settings


@click.command("diff")
@click.argument("a", type=_options.FILE)
@click.argument("b", type=_options.FILE)
@_options.limits
@_options.common
@click.pass_context
def command(context: click.Context, a: str, b: str) -> None:
    """Compare the tensors of two files.

    Each is a .wpool or a plain checkpoint. Exit status 1 if they differ.

    \b
    Example:
      wpack diff model.wpool model.safetensors
    """
    from .. import api
    from ..report.results import DiffReport

    settings: Settings = context.obj
    difference = api.diff(a, b, **settings.limits())
    settings.show(DiffReport(a, b, difference))
    context.exit(0 if difference.same else 1)
