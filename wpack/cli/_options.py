"""Options that several commands share, as decorators."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import UsageError
from ._files import DASH
from ._types import Ratio, Size

if TYPE_CHECKING:
    from ..spec.model import Spec

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]

#: Whether a file is there, and what it is, the library finds out when it opens it.
FILE = click.Path(path_type=str)
FOLDER = click.Path(path_type=str, file_okay=False)
STDIN = click.Path(path_type=str, allow_dash=True)


def together(*decorators: Decorator) -> Callable[[Function], Function]:
    """One decorator of several, in reading order."""

    def decorate(function: Function) -> Function:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _setting(*names: str, field: str, value: bool = True, **more: Any) -> Decorator:
    """A flag that goes into the :class:`~wpack.cli._settings.Settings`."""

    def keep(ctx: click.Context, param: click.Parameter, given: bool) -> None:
        if given:
            setattr(ctx.obj, field, value)

    return click.option(*names, is_flag=True, expose_value=False, callback=keep, **more)


def _limit(name: str, text: str) -> Decorator:
    """A limit that goes to the api when it is given."""

    def keep(ctx: click.Context, param: click.Parameter, given: int | None) -> None:
        if given is not None:
            ctx.obj.given_limits[name] = given

    return click.option(
        "--" + name.replace("_", "-"),
        type=Size(),
        envvar=f"WPACK_{name.upper()}",
        expose_value=False,
        callback=keep,
        help=text,
    )


def _refuse_dash(ctx: click.Context, param: click.Parameter, given: str) -> str:
    if given == DASH:
        raise click.BadParameter("it needs a file, not stdout.", ctx, param)
    return given


#: One file or more, or stdin.
files = click.argument("files", nargs=-1, required=True, type=STDIN, metavar="FILE...")
#: What every command has.
common = together(
    _setting("--json", field="json", help="Print one JSON document."),
    _setting("-q", "--quiet", field="quiet", help="No notes and no progress."),
    _setting("-v", "--verbose", field="verbose", help="All notes; causes of errors."),
    _setting(
        "--debug",
        field="debug",
        envvar="WPACK_DEBUG",
        help="Show the traceback of an error.",
    ),
    _setting("--no-color", field="color", value=False, help="No colours."),
)
#: What long work has.
progress = _setting(
    "--no-progress", field="progress", value=False, help="No progress on stderr."
)
force = click.option("-f", "--force", is_flag=True, help="Replace the output file.")
overrides = click.option(
    "--set",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override a value of the spec; can be repeated.",
)
spec = together(
    click.option(
        "-s",
        "--spec",
        type=STDIN,
        metavar="SPEC",
        help="Pool spec, a YAML file; - is stdin.",
    ),
    click.option(
        "--ratio",
        type=Ratio(),
        help="Without a spec: one global pool of all matrices and kernels, this many"
        " times smaller.",
    ),
    click.option(
        "--codec",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="With --ratio: store the pool by this codec, such as int=4 or zstd; can be"
        " repeated.",
    ),
    overrides,
)
output = together(
    click.option(
        "-o",
        "--output",
        required=True,
        type=STDIN,
        help="The file to write; - is stdout.",
    ),
    force,
)
#: For output that has a run folder beside it.
output_file = together(
    click.option(
        "-o",
        "--output",
        required=True,
        type=FILE,
        callback=_refuse_dash,
        help="The file to write.",
    ),
    force,
)
key = click.option(
    "--key",
    metavar="NAME",
    help="Where in a .pt file the state dict is, if there are several.",
)
#: What every command has that opens a file.
limits = together(
    _limit("max_header", "Refuse a longer header  [default: 16MiB]."),
    _limit(
        "max_working_bytes",
        "Refuse a .wpool that claims more working weights  [default: 4 times the"
        " machine's memory].",
    ),
)
device = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Where to compute: auto, cpu, cuda, cuda:1, mps.",
)


def read_spec(
    *,
    spec: str | None = None,
    ratio: float | None = None,
    codec: Sequence[str] = (),
    set: Sequence[str] = (),
) -> Spec:
    """The spec that the options of :data:`spec` ask for.

    Raises:
        UsageError: Neither or both of ``-s`` and ``--ratio`` are given, ``--codec``
            goes with ``-s``, or stdin is closed.
        SpecError: The spec is wrong.
    """
    from ..spec import load, parse, spec_from_ratio

    if spec is not None and (ratio is not None or codec):
        option, key = ("--ratio", "ratio=2") if ratio else ("--codec", "codecs=[zstd]")
        raise UsageError(
            f"{option} and --spec cannot be used together",
            hint=f"--set pools.NAME.{key} changes a pool of the spec",
        )
    if spec is not None:
        if spec == DASH and sys.stdin is None:
            raise UsageError("stdin is closed", where="--spec -")
        return load(spec, set)
    if ratio is None:
        raise UsageError("neither --spec nor --ratio is given")
    made = spec_from_ratio(ratio, codecs=codec)
    return parse(made.text, "--ratio", set) if set else made
