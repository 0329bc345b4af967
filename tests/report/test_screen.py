"""Reports as text on a stream."""

from __future__ import annotations

import io

import pytest
from rich.text import Text

from wpack.report import screen


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


BOLD = Text("name", style="bold red")


def test_a_pipe_gets_plain_whole_lines() -> None:
    """No escape sequences, no line breaks, no trailing blanks."""
    line = "word " * 100

    assert screen.text(BOLD, io.StringIO()) == "name\n"
    assert screen.text(Text(line), io.StringIO()) == line.rstrip() + "\n"


def test_a_terminal_gets_styles() -> None:
    """On a terminal names stand out."""

    assert "\x1b[1;31mname" in screen.text(BOLD, Terminal())


@pytest.mark.parametrize(
    ("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("TERM", "unknown")]
)
def test_no_escape_sequences(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """NO_COLOR and terminals that know no styles get none, bold neither."""
    monkeypatch.setenv(variable, value)

    assert screen.text(BOLD, Terminal()) == "name\n"


def test_no_color() -> None:
    """So does --no-color."""

    assert screen.text(BOLD, Terminal(), color=False) == "name\n"


def test_force_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """FORCE_COLOR sends styles down a pipe."""
    monkeypatch.setenv("FORCE_COLOR", "1")

    assert "\x1b[1;31mname" in screen.text(BOLD, io.StringIO())


def test_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """COLUMNS is the width, on a pipe too."""
    monkeypatch.setenv("COLUMNS", "20")

    assert screen.text(Text("word " * 8), io.StringIO()).count("\n") == 2


def test_markup_is_text() -> None:
    """Strings are printed as they are."""

    assert screen.text("[bold]x[/bold] :smile:", io.StringIO()) == (
        "[bold]x[/bold] :smile:\n"
    )
