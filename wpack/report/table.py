"""Tables that fit: columns are shortened, then left out, before a line is too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .names import shorten

if TYPE_CHECKING:
    from rich.box import Box
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

_GAP = 2


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        cells: Escaped text, one a row.
        total: What stands below the line, or "".
        right: Numbers are set to the right.
        least: Width in cells to which its text may be shortened; 0 for never.
        folds: Whether text that is too wide goes on in the next line instead.
        rank: Columns of the highest rank are left out first; rank 0 never.
    """

    title: str
    cells: Sequence[str]
    total: str = ""
    right: bool = False
    least: int = 0
    folds: bool = False
    rank: int = 0

    @property
    def width(self) -> int:
        """Cells it needs."""
        from rich.cells import cell_len

        return max(map(cell_len, (self.title, self.total, *self.cells)))

    @property
    def least_width(self) -> int:
        """Cells it needs at the very least."""
        from rich.cells import cell_len

        wanted = max(self.least, cell_len(self.title))
        return min(self.width, wanted) if self.least else self.width

    def fitted(self, width: int) -> Column:
        """This column with texts for ``width`` cells."""
        if self.folds or not self.least:
            return self
        return replace(
            self,
            cells=[shorten(cell, width) for cell in self.cells],
            total=shorten(self.total, width),
        )


@dataclass(frozen=True)
class Table:
    """Columns side by side, with a line below the titles and above the totals."""

    columns: Sequence[Column]

    def fitted(self, width: int) -> list[tuple[Column, int]]:
        """The columns as they are printed in ``width`` cells, and their widths.

        Text that may be shortened is, down to its least width; when that is not
        enough, columns go, the highest rank first.  What is left may still be too
        wide: then lines are long, and no number is cut.
        """
        columns = list(self.columns)
        while _together([c.least_width for c in columns]) > width:
            last = max(columns, key=lambda c: c.rank)
            if last.rank == 0:
                break
            columns.remove(last)
        widths = [c.width for c in columns]
        for i, column in enumerate(columns):
            excess = max(_together(widths) - width, 0)
            widths[i] = max(widths[i] - excess, column.least_width)
        return [(c.fitted(w), w) for c, w in zip(columns, widths, strict=True)]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        from rich.table import Table as RichTable

        fitted = self.fitted(options.max_width)
        table = RichTable(
            box=_ruled("-" if options.ascii_only else "─"),
            show_edge=False,
            pad_edge=False,
            padding=(0, _GAP - 1, 0, 0),
            show_footer=any(column.total for column, _ in fitted),
            header_style="bold",
            footer_style="bold",
        )
        for column, width in fitted:
            table.add_column(
                _text(column.title),
                _text(column.total),
                justify="right" if column.right else "left",
                width=width,
                no_wrap=not column.folds,
                overflow="fold",
            )
        for row in zip(*(column.cells for column, _ in fitted), strict=True):
            table.add_row(*map(_text, row))
        needed = _together([width for _, width in fitted]) + _GAP
        width = max(needed, options.max_width)
        yield from console.render(table, options.update_width(width))


def _together(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _ruled(line: str) -> Box:
    """A box of nothing but the lines below the titles and above the totals."""
    from rich.box import Box

    blank, rule = "    ", f" {line}{line} "
    rows = (blank, blank, rule, blank, blank, rule, blank, blank)
    return Box("\n".join(rows) + "\n", ascii=True)


def _text(cell: str) -> Text:
    """Text that rich takes literally: a name may look like its markup."""
    from rich.text import Text

    return Text(cell)
