"""``wpack compress``."""

from __future__ import annotations

from typing import Any

import click

from . import _files, _options
from ._settings import Settings


@click.command("compress")
@click.argument("checkpoint", type=_options.FILE)
@_options.spec
@_options.output
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan and write nothing.")
@click.option("--fail-on-nan", is_flag=True, help="Refuse weights that are not finite.")
@_options.key
@_options.limits
@_options.progress
@_options.common
@click.pass_obj
def command(
    settings: Settings,
    /,
    checkpoint: str,
    output: str,
    force: bool,
    dry_run: bool,
    fail_on_nan: bool,
    key: str | None,
    **spec: Any,
) -> None:
    """Project CHECKPOINT onto its pools and write a .wpool file.

    What no pool claims is stored bit for bit. 'wpack finetune' wins back the accuracy
    that sharing costs.

    \b
    Example:
      wpack compress model.safetensors --ratio 2 -o model.wpool
      wpack compress m.safetensors --ratio 2 --codec int=4 --codec zstd -o m.wpool
    """
    from .. import api
    from ..report.plan import PlanReport
    from ..report.results import PackReport

    wanted = _options.read_spec(**spec)
    if dry_run:
        planned = api.plan(checkpoint, wanted, key=key, **settings.limits())
        settings.notes(planned.notes)
        settings.show(PlanReport.of(planned, output=output, full=settings.verbose))
        return
    with _files.target(output) as path, settings.watch("compress") as watch:
        packed = api.compress(
            checkpoint,
            wanted,
            path,
            force=force,
            key=key,
            fail_on_nan=fail_on_nan,
            progress=watch,
            **settings.limits(),
        )
    settings.notes(packed.notes)
    if output != _files.DASH:
        settings.show(PackReport(packed.source, packed.stats, packed.notes))
