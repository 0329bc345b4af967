"""Every command: its help, its example, its place in the README."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
import pytest

from tests.cli.harness import Run
from wpack.cli import cli

ROOT = Path(__file__).parents[2]


def commands(
    group: click.Group = cli, path: str = "wpack"
) -> Iterator[tuple[str, click.Command]]:
    """Every command and subcommand with its whole name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


COMMANDS = dict(commands())
each_command = pytest.mark.parametrize("name", COMMANDS)


def test_the_folder_is_the_registry() -> None:
    """A command is a file of the folder, and nothing else makes one."""
    folder = ROOT / "wpack" / "cli"
    files = {f.stem for f in folder.glob("*.py") if not f.stem.startswith("_")}

    assert files == set(cli.list_commands(click.Context(cli)))


@each_command
def test_help(run: Run, name: str) -> None:
    """The help fits 80 columns, and every option in it says what it does."""
    result = run(*name.split()[1:], "--help")
    silent = [
        option.name
        for option in COMMANDS[name].params
        if isinstance(option, click.Option) and not option.help
    ]

    assert result.status == 0
    assert result.err == ""
    assert max(map(len, result.out.splitlines())) <= 80
    assert silent == []


@each_command
def test_the_example_comes_last_and_parses(name: str) -> None:
    """Each help text ends with an example, whose options there are."""
    command = COMMANDS[name]
    _, _, example = cleandoc(command.help or "").partition("\b\nExample:\n")
    first = example.splitlines()[0].strip()

    assert first.startswith(f"{name} ") or first == name
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
    if not isinstance(command, click.Group):
        words = first.removeprefix(name).split()

        assert {word for word in words if word.startswith("-")} <= options


@each_command
def test_short_help_is_whole(name: str) -> None:
    """The list of commands shows the first sentence of each, not cut off."""

    assert not COMMANDS[name].get_short_help_str(66).endswith("...")


@each_command
def test_readme(name: str) -> None:
    """Every command is shown in the README."""

    assert name in (ROOT / "README.md").read_text("utf-8")


@each_command
def test_short_bodies(name: str) -> None:
    """A command parses, calls the api, and hands the result on: it has no logic of its
    own."""
    callback = COMMANDS[name].callback
    assert callback is not None
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(callback)))
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    statements = [n for n in ast.walk(function) if isinstance(n, ast.stmt)]

    assert len(statements) - 1 <= 15


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_group_help(run: Run, option: str) -> None:
    """``wpack -h`` lists the commands on stdout."""
    result = run(option)

    assert result.status == 0
    assert "\n  compress " in result.out
    assert "Exit status: 0 done, 1\n" in result.out


def test_no_arguments(run: Run) -> None:
    """Without a command the help goes to stderr, for that is wrong usage."""
    result = run()

    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("Usage: wpack [OPTIONS] COMMAND [ARGS]...")


def test_unknown_command(run: Run) -> None:
    """A command that is none is named, with a pointer to those there are."""
    result = run("compres")

    assert result.status == 2
    assert result.err.startswith("wpack: error: No such command 'compres'.")
    assert result.err.endswith("See 'wpack --help'\n")


def test_version(run: Run) -> None:
    """One line on stdout."""
    result = run("--version")

    assert result.status == 0
    assert result.out.startswith("wpack ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(run: Run, shell: str) -> None:
    """The script asks wpack itself."""
    result = run("completion", shell)

    assert result.status == 0
    assert "_WPACK_COMPLETE" in result.out


def test_completion(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands and options are completed, those of the shared decorators too."""
    monkeypatch.setenv("_WPACK_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "wpack co")
    monkeypatch.setenv("COMP_CWORD", "1")

    assert run().out == "plain,completion\nplain,compress\n"

    monkeypatch.setenv("COMP_WORDS", "wpack stats --no")
    monkeypatch.setenv("COMP_CWORD", "2")

    assert run().out == "plain,--no-tensors\nplain,--no-color\n"


def test_env(run: Run) -> None:
    """Versions for a bug report."""
    result = run("env")

    assert result.status == 0
    assert "\npage size " in result.out
