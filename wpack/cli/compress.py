"""``wpack compress``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import _files, _options
from ._settings import Settings

if TYPE_CHECKING:
    from ..packing import Planned


@click.command("compress")
@click.argument("checkpoint", type=_options.FILE)
@_options.spec
@_options.output
@click.option("-n", "--dry-run", is_flag=True, help="Show the plan and write nothing.")
@click.option("--fail-on-nan", is_flag=True, help="Refuse weights that are not finite.")
@click.option(
    "--calibrate",
    metavar="MODULE:ATTR|spec",
    help="Set kept tensors right by forward passes over this task's training data, no"
    " labels needed; spec: over those of the spec's task.",
)
@click.option(
    "--calibrate-batches",
    type=click.IntRange(min=1),
    help="How many batches to pass  [default: 20].",
)
@_options.device
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
    calibrate: str | None,
    calibrate_batches: int | None,
    device: str,
    **spec: Any,
) -> None:
    """Project CHECKPOINT onto its pools and write a .wpool file.

    What no pool claims is stored bit for bit, unless --calibrate is given: then batch
    normalisation is measured anew, and other norms and biases of pooled layers are
    corrected, with the network in memory. 'wpack finetune' wins back more.

    \b
    Example:
      wpack compress model.safetensors --ratio 2 -o model.wpool
      wpack compress m.pt -s pools.yaml --calibrate ./task.py:task -o m.wpool
      wpack compress m.safetensors --ratio 2 --codec int=4 --codec zstd -o m.wpool
    """
    from .. import api
    from ..report.results import PackReport

    more = _calibration(calibrate, calibrate_batches, device) | settings.limits()
    wanted = _options.read_spec(**spec)
    if dry_run:
        planned = api.plan(checkpoint, wanted, key=key, **settings.limits())
        return _show_plan(settings, planned, output)
    with (
        _files.target(output) as path,
        settings.watch("compress") as watch,
        redirect_stdout(sys.stderr),  # A task may print.
    ):
        packed = api.compress(
            checkpoint,
            wanted,
            path,
            force=force,
            key=key,
            fail_on_nan=fail_on_nan,
            progress=watch,
            **more,
        )
    settings.notes(packed.notes)
    if output != _files.DASH:
        settings.show(PackReport.of(packed))


def _show_plan(settings: Settings, planned: Planned, output: str) -> None:
    """What would be written."""
    from ..report.plan import PlanReport

    settings.notes(planned.notes)
    settings.show(PlanReport.of(planned, output=output, full=settings.verbose))


def _calibration(task: str | None, batches: int | None, device: str) -> dict[str, Any]:
    """What the api is told of it.

    Raises:
        UsageError: There are batches, and no task to take them from.
    """
    if task is None:
        if batches is not None:
            raise UsageError(
                "--calibrate-batches is given, and --calibrate is not",
                hint="--calibrate names the task whose training data to pass",
            )
        return {}
    count = {} if batches is None else {"calibrate_batches": batches}
    return {"calibrate": task, "device": device, **count}
