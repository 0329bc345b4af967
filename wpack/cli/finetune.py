"""``wpack finetune``."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from ..errors import UsageError
from . import _environment, _options, _signals
from ._settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..events import Event


@click.command("finetune")
@click.argument("checkpoint", type=_options.FILE, required=False)
@click.option(
    "--from-scratch",
    is_flag=True,
    help="Train the task's model without a CHECKPOINT, from its own initialiser; no"
    " teacher but one that the spec names.",
)
@_options.spec
@_options.output_file
@click.option(
    "--task",
    metavar="MODULE:ATTR",
    help="What to train on: module:attribute, ./file.py:attribute or one of wpack's;"
    " overrides the spec's.",
)
@click.option(
    "--resume",
    metavar="auto|FOLDER",
    help="Go on with the run in OUTPUT.run, or in another run folder, if there is one.",
)
@click.option(
    "--run",
    type=_options.FOLDER,
    help="Folder for the states and the log of the run  [default: OUTPUT.run].",
)
@click.option(
    "--allow-mismatch",
    is_flag=True,
    help="Resume although the run was started with other settings, where its states"
    " fit them.",
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
    checkpoint: str | None,
    from_scratch: bool,
    spec: str | None,
    ratio: float | None,
    codec: tuple[str, ...],
    set: tuple[str, ...],
    output: str,
    **rest: Any,
) -> None:
    """Train a network with its weights tied; write a .wpool.

    It starts from CHECKPOINT, which is its teacher, too, or from scratch. The first
    Ctrl-C, SIGTERM or SIGUSR1 saves the run and ends it, '--resume auto' goes on with
    it; the second ends it at once.

    \b
    Example:
      wpack finetune model.safetensors -s pools.yaml -o model.wpool
      wpack finetune --from-scratch -s pools.yaml -o model.wpool
    """
    from .. import api
    from ..allocator import keep_memory
    from ..report.training import FinetuneReport

    _check_source(checkpoint, from_scratch, rest["key"])
    wanted = _options.read_spec(spec=spec, ratio=ratio, codec=codec, set=set)
    keep_memory()
    with _signals.finishing() as stop, redirect_stdout(sys.stderr):  # A task may print.
        events = api.finetune(
            checkpoint, wanted, output, stop=stop, **rest, **settings.limits()
        )
        finished = _watched(events, settings)
    if not _environment.follows():
        settings.show(FinetuneReport(finished, api.stats(output)))


def _check_source(checkpoint: str | None, from_scratch: bool, key: str | None) -> None:
    """There is one thing to start from.

    Raises:
        UsageError: There is none, or more than one.
    """
    if checkpoint is None and not from_scratch:
        raise UsageError(
            "neither CHECKPOINT nor --from-scratch is given",
            hint="Name the checkpoint to train, or start with a new network",
        )
    if checkpoint is not None and from_scratch:
        raise UsageError(
            "--from-scratch and a CHECKPOINT cannot be used together",
            where=checkpoint,
            hint="Leave one of them out",
        )
    if from_scratch and key is not None:
        raise UsageError(
            "--from-scratch and --key cannot be used together",
            hint="A key is for a checkpoint",
        )


def _watched(events: Iterator[Event], settings: Settings) -> Any:
    """Show the events as they come; the last is the result."""
    from ..events import Note
    from ..report.training import of_training

    event: Any = None
    shown = settings.progress and not settings.quiet
    with of_training(sys.stderr, shown=shown, color=settings.color) as watch:
        for event in events:
            if isinstance(event, Note):
                settings.notes([event.text])
            watch(event)
    return event
