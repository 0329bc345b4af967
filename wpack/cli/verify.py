"""``wpack verify``."""

from __future__ import annotations

from typing import Any

import click

from . import _files, _options
from ._settings import Settings


@click.command("verify")
@_options.files
@_options.limits
@_options.common
@click.pass_context
def command(context: click.Context, files: tuple[str, ...]) -> None:
    """Check every hash and every bound of .wpool FILEs.

    Exit status 1 if any of them has a problem; - is stdin.

    \b
    Example:
      wpack verify model.wpool
    """
    from ..report.results import VerifyReport

    settings: Settings = context.obj
    with _files.inputs(files) as given:
        report = VerifyReport(
            {name: _problems(path, settings.limits()) for name, path in given}
        )
    settings.show(report)
    context.exit(0 if report.sound else 1)


def _problems(path: str, limits: dict[str, Any]) -> tuple[str, ...]:
    """What is wrong with a file; one that cannot be read at all does not keep the
    others from being checked."""
    from .. import api
    from ..errors import WpackError

    try:
        return api.verify(path, **limits)
    except WpackError as error:
        return (error.what + (f". {error.hint}" if error.hint else ""),)
