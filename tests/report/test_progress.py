"""Progress in bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from wpack.report import progress

MIB = 1 << 20


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


def clock(*times: float) -> progress.Clock:
    """A clock that shows these times, one a look."""
    left: Iterator[float] = iter(times)
    return lambda: next(left)


def test_lines() -> None:
    """Without a terminal: nothing at first, then a line every few seconds."""
    stream = io.StringIO()
    times = clock(0.0, 1.0, 6.0, 7.0, 12.0)
    with progress.of_bytes("compress", stream, clock=times) as watch:
        for done in (1, 3, 4, 6):
            watch(done * MIB, 10 * MIB, "blocks.0\n")

    assert stream.getvalue() == (
        "wpack: compress: 30%, 3.0 MiB of 10.0 MiB, 512.0 KiB/s, 14 s left"
        " (blocks.0\\n)\n"
        "wpack: compress: 60%, 6.0 MiB of 10.0 MiB, 512.0 KiB/s, 8 s left"
        " (blocks.0\\n)\n"
    )


def test_nothing_to_do() -> None:
    """Empty work neither divides by zero nor says anything."""
    stream = io.StringIO()
    with progress.of_bytes("inflate", stream, clock=clock(0.0, 9.0)) as watch:
        watch(0, 0, "")

    assert stream.getvalue() == ""


def test_not_shown() -> None:
    """--no-progress and --quiet mean none at all."""
    stream = Terminal()
    with progress.of_bytes("compress", stream, shown=False) as watch:
        watch(1, 2, "x")

    assert stream.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal the line is redrawn, and gone at the end."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with progress.of_bytes("compress", stream) as watch:
        watch(5 * MIB, 10 * MIB, "blocks.0")

    assert "compress" in stream.getvalue()
    assert "5.0/10.0 MiB" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that cannot redraw gets lines."""
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with progress.of_bytes("compress", stream, clock=clock(0.0, 6.0)) as watch:
        watch(6 * MIB, 12 * MIB, "w")

    assert stream.getvalue() == (
        "wpack: compress: 50%, 6.0 MiB of 12.0 MiB, 1.0 MiB/s, 6 s left (w)\n"
    )
