"""The command line: one command a file, and this folder's listing is the registry.

A command parses, calls :mod:`wpack.api` and hands the result to :mod:`wpack.report`.
Whatever a command needs beyond click it imports in its body, so that ``wpack --help``
and shell completion answer at once.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from . import _environment, _failures
from ._settings import Settings

#: The variable through which a shell asks for completions.
COMPLETE = "_WPACK_COMPLETE"


class Commands(click.Group):
    """The group whose commands are the files of this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every file whose name does not start with an underscore."""
        found = pkgutil.iter_modules(__path__)
        return sorted(module.name for module in found if module.name[0] != "_")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The ``command`` that the file of this name defines."""
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f".{name}", __name__).command
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command and leave with its exit status.

        click's own ``main`` exits with 1 where a shell expects 130 or 141, and knows
        nothing of :class:`~wpack.errors.WpackError`.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        settings = Settings(
            json="--json" in arguments,
            debug="--debug" in arguments,
            quiet=_environment.follows(),
        )
        extra = {**extra, "obj": settings}
        if instruction := os.environ.get(COMPLETE):
            sys.exit(shell_complete(self, extra, "wpack", COMPLETE, instruction))
        with _failures.leaving(settings):
            with self.make_context("wpack", arguments, **extra) as context:
                _environment.warn_of_unknown(context, settings)
                self.invoke(context)


def _show_version(ctx: click.Context, param: click.Parameter, given: bool) -> None:
    if given:
        from ..report.environment import version

        click.echo(f"wpack {version('wpack')}")
        ctx.exit()


@click.command(
    cls=Commands,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "WPACK",
        "max_content_width": 100,
    },
    epilog="Every option can be set as WPACK_<COMMAND>_<OPTION>. Exit status: 0 done,"
    " 1 bad data or a failed check, 2 wrong usage or spec, 130 interrupted, 143"
    " terminated after a safe save, 141 the reader of the output went away.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Make a trained network small: tie its weights to a pool, and load it as views.

    \b
    Example:
      wpack compress model.safetensors --ratio 2 -o model.wpool
      wpack stats model.wpool
    """
