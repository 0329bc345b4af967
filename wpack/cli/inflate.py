"""``wpack inflate``."""

from __future__ import annotations

import os

import click

from . import _files, _options
from ._settings import Settings


@click.command("inflate")
@click.argument("file", type=_options.STDIN)
@_options.output
@_options.limits
@_options.progress
@_options.common
@click.pass_obj
def command(settings: Settings, /, file: str, output: str, force: bool) -> None:
    """Write a .wpool FILE as a plain checkpoint, exactly.

    A .safetensors output holds every tensor in full; a .pt, .pth or .bin output keeps
    the views, and the file stays small. - is stdin or stdout.

    \b
    Example:
      wpack inflate model.wpool -o model.safetensors
    """
    from .. import api
    from ..report.results import WrittenReport

    with (
        _files.inputs([file]) as [(_, path)],
        _files.target(output) as made,
        settings.watch("inflate") as watch,
    ):
        api.inflate(
            path,
            made,
            force=force,
            progress=watch,
            **settings.limits(),
        )
    if output != _files.DASH:
        settings.show(WrittenReport(output, os.path.getsize(output)))
