"""What codecs make of pools and kept tensors: bytes stage by stage, and their bound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from . import units
from .names import printable
from .table import Column, Table

if TYPE_CHECKING:
    from rich.console import RenderResult

    from ..stats import FileStats, GroupStats, PoolStats


def chain(coded: PoolStats | GroupStats) -> str:
    """A pool's or group's codecs in one word."""
    return "+".join(coded.codecs)


def of(file: FileStats) -> RenderResult:
    """:func:`stages` after a blank line, and what it says, if there is anything."""
    from rich.text import Text

    if (table := stages(file)) is not None:
        yield ""
        yield table
        yield Text(
            "entropy: the least that coding symbol by symbol could reach; over: what"
            " was reached beyond it"
        )


def stages(file: FileStats) -> Table | None:
    """Bytes of each coded pool and group before its first codec and after each, beside
    the order-0 entropy of its symbols; None where nothing is coded or nothing known.

    The last number before the entropy is what the file holds.
    """
    pools = [pool for pool in file.pools if pool.stages]
    groups = [group for group in file.groups if group.stages]
    rows: list[PoolStats | GroupStats] = [*pools, *groups]
    if not rows:
        return None
    names = [printable(pool.name) for pool in pools]
    names += [f"({units.count(group.tensors)} kept)" for group in groups]
    after = [{s.codec: s.bytes for s in row.stages or ()} for row in rows]
    return Table(
        [
            Column("stored", names, least=12),
            *(
                _numbers(codec or "values", [sizes.get(codec) for sizes in after])
                for codec in ("", *_in_order(rows))
            ),
            _numbers("entropy", [row.entropy_bytes for row in rows]),
            Column("over", [_over(row) for row in rows], right=True),
        ]
    )


def _in_order(rows: Iterable[PoolStats | GroupStats]) -> list[str]:
    """All codecs of these, as they may follow one another in a chain."""
    from .. import codecs

    found = dict.fromkeys(codec for row in rows for codec in row.codecs)
    return sorted(found, key=lambda codec: codecs.named(codec).stage)


def _numbers(title: str, values: Iterable[int | None]) -> Column:
    cells = ["" if value is None else units.count(value) for value in values]
    return Column(title, cells, right=True)


def _over(row: PoolStats | GroupStats) -> str:
    """``1.5 %``: how far what is stored is from the entropy."""
    if not row.entropy_bytes:
        return ""
    return f"{100 * (row.stored_bytes / row.entropy_bytes - 1):.1f} %"
