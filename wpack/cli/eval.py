"""``wpack eval``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import click

from . import _options
from ._settings import Settings


@click.command("eval")
@click.argument("file", type=_options.FILE)
@click.option(
    "--task",
    required=True,
    metavar="MODULE:ATTR",
    help="The task: module:attribute, ./file.py:attribute or one of wpack's.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Examples at a time.")
@_options.device
@_options.limits
@_options.common
@click.pass_obj
def command(
    settings: Settings, /, file: str, task: str, batch_size: int | None, device: str
) -> None:
    """Measure a task's metrics of FILE.

    It is a .wpool or a plain checkpoint of the task's network.

    \b
    Example:
      wpack eval model.wpool --task ./task.py:task
    """
    from .. import api
    from ..report.results import EvalReport

    with redirect_stdout(sys.stderr):  # A task may print.
        metrics = api.evaluate(
            file, task, device=device, batch_size=batch_size, **settings.limits()
        )
    settings.show(EvalReport(file, task, metrics))
