"""``wpack env``."""

from __future__ import annotations

import click

from . import _options
from ._settings import Settings


@click.command("env")
@_options.common
@click.pass_obj
def command(settings: Settings) -> None:
    """Show versions and what this machine can map, for bug reports.

    \b
    Example:
      wpack env
    """
    from ..report.environment import EnvironmentReport

    settings.show(EnvironmentReport.here())
