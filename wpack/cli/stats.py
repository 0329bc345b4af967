"""``wpack stats``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ..report.names import printable
from . import _files, _options
from ._settings import Settings

if TYPE_CHECKING:
    from ..report.stats import Order, StatsReport


@click.command("stats")
@_options.files
@click.option("--tensors/--no-tensors", default=True, help="List every tensor or none.")
@click.option(
    "--sort",
    type=click.Choice(["file", "name", "size"]),
    default="file",
    show_default=True,
    help="The order of the tensors.",
)
@click.option(
    "--html",
    type=_options.STDIN,
    metavar="OUT",
    help="Write a page with the maps of the pools, too.",
)
@click.option("-f", "--force", is_flag=True, help="Replace the page.")
@click.option(
    "--backend",
    type=click.Choice(["auto", "mmap", "memfd", "copy"]),
    default="auto",
    show_default=True,
    help="The way of loading to count copies for.",
)
@click.option(
    "--load", is_flag=True, help="Load each .wpool, too, and say what that takes."
)
@_options.limits
@_options.common
@click.pass_obj
def command(
    settings: Settings,
    /,
    files: tuple[str, ...],
    tensors: bool,
    sort: Order,
    html: str | None,
    force: bool,
    backend: str,
    load: bool,
) -> None:
    """Show what files cost, tensor by tensor.

    Each FILE is a .wpool, a .safetensors, the index of a sharded checkpoint, or a file
    of torch.save; - is stdin. Every byte is accounted for, and no weight is read but by
    --load, which takes every tensor of a .wpool: views where they can be had, computed
    elsewhere.

    \b
    Example:
      wpack stats model.wpool model.safetensors --no-tensors
    """
    from .. import api
    from ..report.stats import StatsReport

    found = []
    with _files.inputs(files) as given:
        for name, path in given:
            file = api.stats(path, backend=backend, load=load, **settings.limits())
            found.append(replace(file, path=name))
    report = StatsReport(tuple(found), tensors, sort)
    if html is not None:
        _write(report, html, force, settings)
    if html != _files.DASH:
        settings.show(report)


def _write(report: StatsReport, html: str, force: bool, settings: Settings) -> None:
    from .. import durable
    from ..report.page import page

    if html == _files.DASH:
        settings.write(page(report))
    else:
        durable.write_text(html, page(report), force=force)
        settings.say(f"wrote {printable(html)}")
