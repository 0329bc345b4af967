"""``wpack plan``."""

from __future__ import annotations

from typing import Any

import click

from . import _options
from ._settings import Settings


@click.command("plan")
@click.argument("checkpoint", type=_options.FILE)
@_options.spec
@_options.key
@_options.limits
@_options.common
@click.pass_obj
def command(
    settings: Settings, /, checkpoint: str, key: str | None, **spec: Any
) -> None:
    """Show what would be shared with what, and the size to the byte.

    Reads the headers of CHECKPOINT and no weight: a .safetensors file, the folder or
    the index of a sharded checkpoint, or a file of torch.save. Where zstd is to store
    weights, the size is the most that it can be.

    \b
    Example:
      wpack plan model.safetensors -s pools.yaml
    """
    from .. import api
    from ..report.plan import PlanReport

    wanted = _options.read_spec(**spec)
    planned = api.plan(checkpoint, wanted, key=key, **settings.limits())
    settings.notes(planned.notes)
    settings.show(PlanReport.of(planned, full=settings.verbose))
