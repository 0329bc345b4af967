"""What would be shared with what, and what it would cost."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from . import stats as file_report
from . import units
from .document import document
from .names import printable
from .sharing import Stretch, number_of_stretches, of_pool, stretches
from .table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from ..packing import Planned
    from ..plan import Plan, PoolPlan
    from ..stats import FileStats

#: Stretches of a pool that are listed unless all are asked for.
SHOWN = 24


@dataclass(frozen=True)
class PlanReport:
    """``wpack plan`` and ``wpack compress --dry-run``.

    Attributes:
        stats: What the file will cost.
        output: The file that would be written, or "".
        full: Whether to list every stretch of every pool.
    """

    plan: Plan
    stats: FileStats
    notes: tuple[str, ...] = ()
    output: str = ""
    full: bool = False

    @classmethod
    def of(
        cls, planned: Planned, *, output: str = "", full: bool = False
    ) -> PlanReport:
        """The report of what :func:`wpack.api.plan` gave."""
        return cls(planned.plan, planned.stats, tuple(planned.notes), output, full)

    def document(self) -> dict[str, Any]:
        """The plan as a ``.wpool`` holds it, its cost as ``wpack stats`` has it."""
        return document(
            plan=json.loads(self.plan.to_json()),
            stats=self.stats.to_json(),
            notes=list(self.notes),
            output=self.output or None,
        )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield file_report.pools(self.stats)
        if self.stats.pools:
            yield ""
            yield file_report.decompression(self.stats)
        for pool in self.plan.pools:
            yield ""
            yield from self._sharing(pool)
        yield ""
        yield self._prediction()

    def _sharing(self, pool: PoolPlan) -> RenderResult:
        from rich.text import Text

        readers = of_pool(pool)
        count = number_of_stretches(readers, pool.backing)
        shown = count if self.full or count <= SHOWN else SHOWN
        heading = Text(f"pool {printable(pool.name)}", style="bold")
        heading.append(
            f": {units.count(len(readers))} slices read"
            f" {units.count(pool.backing)} backing weights",
            style="not bold",
        )
        yield heading
        yield sharing_table(list(islice(stretches(readers, pool.backing), shown)))
        if shown < count:
            yield f"and {units.count(count - shown)} more stretches (-v lists all)"

    def _prediction(self) -> Text:
        from rich.text import Text

        stats = self.stats
        most = "" if stats.exact else "at most "
        text = Text(f"{printable(self.output) or 'the file'} would take {most}")
        text.append(units.both(stats.file_bytes), style="bold")
        text.append(
            f" for {units.both(stats.inflated_bytes)} of tensors:"
            f" {units.count(stats.free_parameters)} free parameters for"
            f" {units.count(stats.working_parameters)} working,"
            f" ratio {units.ratio(stats.ratio)}"
        )
        return text


def sharing_table(found: list[Stretch]) -> Table:
    """Stretches of one pool and the tensors that read each."""
    return Table(
        [
            Column("from", [units.count(s.start) for s in found], right=True),
            Column(
                "to",
                [units.count(s.start + s.length) for s in found],
                right=True,
                rank=1,
            ),
            Column("weights", [units.count(s.length) for s in found], right=True),
            Column("reads", [units.count(s.reads) for s in found], right=True),
            Column(
                "read by",
                [printable(s.read_by) or "nothing" for s in found],
                least=24,
                folds=True,
            ),
        ]
    )
