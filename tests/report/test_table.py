"""Tables in as many cells as there are."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from wpack.report.table import Column, Table

TABLE = Table(
    [
        Column("tensor", ["blocks.0.attn.qkv.weight", "x"], total="total", least=10),
        Column("dtype", ["float32", "int8"], rank=1),
        Column("bytes", ["1,000", "20"], total="1,020", right=True),
    ]
)


def drawn(table: Table, width: int, encoding: str = "utf-8") -> list[str]:
    """The lines of a table on a console of this width."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=stream, width=width, _environ={}, markup=False)
    with console.capture() as captured:
        console.print(table, crop=False)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_whole() -> None:
    """With room enough everything is there, numbers set to the right."""
    expected = [
        "tensor                    dtype    bytes",
        "────────────────────────────────────────",
        "blocks.0.attn.qkv.weight  float32  1,000",
        "x                         int8        20",
        "────────────────────────────────────────",
        "total                              1,020",
    ]

    assert expected == drawn(TABLE, 80)


def test_shortened() -> None:
    """Text is shortened before a column is left out."""
    expected = [
        "tensor        dtype    bytes",
        "────────────────────────────",
        "block...ight  float32  1,000",
        "x             int8        20",
        "────────────────────────────",
        "total                  1,020",
    ]

    assert expected == drawn(TABLE, 28)


def test_left_out() -> None:
    """Then the column of the highest rank goes."""
    expected = [
        "tensor              bytes",
        "─────────────────────────",
        "blocks.0....weight  1,000",
        "x                      20",
        "─────────────────────────",
        "total               1,020",
    ]

    assert expected == drawn(TABLE, 25)


@pytest.mark.parametrize("width", range(1, 50))
def test_numbers_are_never_cut(width: int) -> None:
    """However narrow the terminal, the bytes are whole and each row is one line."""
    lines = drawn(TABLE, width)

    assert len(lines) == 6
    assert lines[2].endswith(" 1,000")
    assert max(map(len, lines)) <= max(width, 17)


def test_folds() -> None:
    """A column that folds goes on in the next line and loses nothing."""
    table = Table(
        [
            Column("n", ["1"]),
            Column("read by", ["alpha, beta, gamma"], least=8, folds=True),
        ]
    )

    assert drawn(table, 15)[2:] == ["1  alpha, beta,", "   gamma"]


def test_ascii() -> None:
    """Where the encoding has no rule character, hyphens do."""

    assert drawn(TABLE, 80, "ascii")[1] == "-" * 40


def test_markup_is_text() -> None:
    """A name that looks like rich's markup or an emoji code is printed as it is."""
    table = Table([Column("tensor", ["[red]x[/red] :smile:"])])

    assert drawn(table, 80)[2] == "[red]x[/red] :smile:"
