"""``wpack spec init``, ``wpack spec check``, ``wpack spec schema``."""

from __future__ import annotations

import json

import click

from . import _files, _options
from ._settings import Settings


@click.group("spec")
def command() -> None:
    """Start a pool spec, check one, or print its schema.

    \b
    Example:
      wpack spec init model.safetensors -o pools.yaml
    """


@command.command("init")
@click.argument("checkpoint", type=_options.FILE)
@click.option(
    "-o",
    "--output",
    default=_files.DASH,
    type=_options.STDIN,
    metavar="SPEC",
    help="The spec to write  [default: stdout].",
)
@_options.force
@_options.key
@_options.limits
@_options.common
@click.pass_obj
def init(
    settings: Settings, /, checkpoint: str, output: str, force: bool, key: str | None
) -> None:
    """Write a commented spec that fits CHECKPOINT, to stdout or -o.

    \b
    Example:
      wpack spec init model.safetensors -o pools.yaml
    """
    from .. import api, durable
    from ..report.results import TextReport, WrittenReport
    from ..spec import starter

    found = api.infos(checkpoint, key=key, **settings.limits())
    text = starter(found, checkpoint)
    if output == _files.DASH:
        settings.show(TextReport("spec", text))
        return
    durable.write_text(output, text, force=force)
    settings.show(WrittenReport(output, len(text.encode())))


@command.command("check")
@click.argument("path", type=_options.STDIN, metavar="SPEC")
@click.argument("checkpoint", type=_options.FILE, required=False)
@_options.overrides
@_options.key
@_options.limits
@_options.common
@click.pass_obj
def check(
    settings: Settings,
    /,
    path: str,
    checkpoint: str | None,
    set: tuple[str, ...],
    key: str | None,
) -> None:
    """Report every mistake in SPEC, alone or against CHECKPOINT.

    \b
    Example:
      wpack spec check pools.yaml model.safetensors
    """
    from .. import api
    from ..report.results import SpecReport

    spec = _options.read_spec(spec=path, set=set)
    if checkpoint is not None:
        planned = api.plan(checkpoint, spec, key=key, **settings.limits())
        settings.notes(planned.notes)
    settings.show(SpecReport(path, tuple(spec.pools)))


@command.command("schema")
@_options.common
@click.pass_obj
def schema(settings: Settings) -> None:
    """Print the JSON Schema of specs, for editors to complete by.

    \b
    Example:
      wpack spec schema > wpack.schema.json
    """
    from ..spec import schema

    settings.write(json.dumps(schema(), indent=2) + "\n")
