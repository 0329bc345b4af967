"""``wpack completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from . import _options
from ._settings import Settings


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@_options.common
@click.pass_obj
def command(settings: Settings, /, shell: str) -> None:
    """Print the script by which SHELL completes commands.

    \b
    Example:
      wpack completion bash >> ~/.bashrc
    """
    from . import COMPLETE, cli

    found = get_completion_class(shell)
    assert found is not None  # click has one for each of the choices.
    settings.write(found(cli, {}, "wpack", COMPLETE).source() + "\n")
