"""``wpack stats --html``: one file that needs no other, no script and no network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from . import coding
from . import stats as text
from .names import printable
from .pool_map import svg
from .sharing import of_file
from .stats import StatsReport
from .table import Column, Table

if TYPE_CHECKING:
    from ..stats import FileStats, PoolStats

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 1100px;
  padding: 0 1em; color: #222; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.2em; margin-top: 2.5em;
  border-top: 1px solid #ccc; padding-top: 1em } h3 { font-size: 1em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .15em .8em; text-align: left; white-space: nowrap }
th.n, td.n { text-align: right }
thead th { border-bottom: 1px solid #888 } tfoot th { border-top: 1px solid #888 }
.scroll { overflow-x: auto } summary { cursor: pointer; font-weight: bold }
svg { width: 100%; background: #f4f4f4 } svg text { font: 10px sans-serif }
"""

# A name that slips past the escaping still finds nothing that would run it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(report: StatsReport) -> str:
    """The report as an HTML document; every name in it is escaped."""
    files = "".join(_file(file, report) for file in report.files)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>wpack stats</title><style>{_STYLE}</style></head>\n<body>"
        f"<h1>wpack stats</h1>\n{_table(text.summary(report.files))}\n{files}"
        "</body></html>\n"
    )


def _file(file: FileStats, report: StatsReport) -> str:
    costs = escape(str(text.costs(file)))
    maps = "".join(_pool(file, pool) for pool in file.pools)
    copied = "".join(f"<p>{escape(str(line))}</p>" for line in text.copies(file))
    load = _table(text.loading(file.load)) if file.load is not None else ""
    pools = ""
    if file.pools:
        pools = _table(text.pools(file)) + _part(text.decompression(file))
    pools += "".join(_part(part) for part in coding.of(file) if part)
    tensors = ""
    if report.tensors:
        tensors = (
            "<details open><summary>tensors</summary>"
            f"{_table(text.tensors(file, report.order))}</details>"
        )
    title = escape(os.path.basename(printable(file.path)))
    return f"<h2>{title}</h2><p>{costs}</p>{copied}\n{load}{pools}\n{maps}{tensors}\n"


def _pool(file: FileStats, pool: PoolStats) -> str:
    name = escape(printable(pool.name))
    return f"<h3>pool {name}</h3>{svg(of_file(file, pool.name), pool.backing)}\n"


def _part(part: Any) -> str:
    return _table(part) if isinstance(part, Table) else f"<p>{escape(str(part))}</p>"


def _table(table: Table) -> str:
    columns = table.columns
    rows = zip(*(c.cells for c in columns), strict=True)
    head = _row([c.title for c in columns], columns, "th")
    body = "".join(_row(row, columns, "td") for row in rows)
    totals = [c.total for c in columns]
    foot = f"<tfoot>{_row(totals, columns, 'th')}</tfoot>" if any(totals) else ""
    return (
        f'<div class="scroll"><table><thead>{head}</thead><tbody>{body}</tbody>'
        f"{foot}</table></div>"
    )


def _row(cells: Iterable[str], columns: Sequence[Column], tag: str) -> str:
    return "<tr>{}</tr>".format(
        "".join(
            f"<{tag}{' class=n' if column.right else ''}>{escape(cell)}</{tag}>"
            for cell, column in zip(cells, columns, strict=True)
        )
    )
