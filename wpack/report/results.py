"""What commands did or found: written files, problems, metrics, differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from . import coding, units
from . import stats as file_report
from .document import document
from .names import printable
from .table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from ..diff import Difference
    from ..packing import Packed
    from ..stats import FileStats

#: Lines of a list that people get to see; ``--json`` has them all.
SHOWN = 20


@dataclass(frozen=True)
class PackReport:
    """``wpack compress``: what the input cost and what the output costs."""

    source: FileStats
    stats: FileStats
    notes: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ()

    @classmethod
    def of(cls, packed: Packed) -> PackReport:
        """Of a file that has been written."""
        return cls(packed.source, packed.stats, packed.notes, packed.calibrated)

    def document(self) -> dict[str, Any]:
        """Both files as ``wpack stats`` gives them, and what is no longer the same."""
        return document(
            output=self.stats.path,
            source=self.source.to_json(),
            stats=self.stats.to_json(),
            calibrated_tensors=len(self.calibrated),
            calibrated=list(self.calibrated),
            notes=list(self.notes),
        )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield file_report.summary([self.source, self.stats])
        yield ""
        yield file_report.pools(self.stats)
        yield from coding.of(self.stats)
        yield ""
        yield from written(self.stats.path, self.stats.file_bytes)
        if self.calibrated:
            kept = _plural(len(self.calibrated), "kept tensor")
            yield _line(f"{kept} calibrated; all others are the checkpoint's")
        yield from file_report.copies(self.stats)


@dataclass(frozen=True)
class WrittenReport:
    """``wpack inflate`` and ``wpack stats --html``: a file was written."""

    output: str
    nbytes: int

    def document(self) -> dict[str, Any]:
        """The path and the size in bytes."""
        return document(output=self.output, bytes=self.nbytes)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield from written(self.output, self.nbytes)


@dataclass(frozen=True)
class TextReport:
    """A text that is the result itself, under ``name`` in the document."""

    name: str
    text: str

    def document(self) -> dict[str, Any]:
        """The text as one string."""
        return document(**{self.name: self.text})

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield _line(self.text.rstrip("\n"))


@dataclass(frozen=True)
class SpecReport:
    """``wpack spec check`` of a spec without mistakes."""

    path: str
    pools: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """The spec and its pools' names."""
        return document(path=self.path, ok=True, pools=list(self.pools))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        pools = _plural(len(self.pools), "pool")
        yield _line(f"{printable(self.path)}: ok, {pools}: {', '.join(self.pools)}")


@dataclass(frozen=True)
class VerifyReport:
    """``wpack verify``: path → its problems, none for a sound file."""

    files: Mapping[str, tuple[str, ...]]

    @property
    def sound(self) -> bool:
        """Whether no file has a problem."""
        return not any(self.files.values())

    def document(self) -> dict[str, Any]:
        """Every file and every problem."""
        return document(
            files=[
                {"path": path, "ok": not problems, "problems": list(problems)}
                for path, problems in self.files.items()
            ]
        )

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        for path, problems in self.files.items():
            verdict = _line(f"{printable(path)}: ")
            if problems:
                noun = "problem" if len(problems) == 1 else "problems"
                verdict.append(f"{len(problems)} {noun}", style="bold red")
            else:
                verdict.append("ok", style="green")
            yield verdict
            yield from (_line(f"  {printable(problem)}") for problem in problems)


@dataclass(frozen=True)
class EvalReport:
    """``wpack eval``: a task's metrics of one file."""

    path: str
    task: str
    metrics: Mapping[str, float]

    def document(self) -> dict[str, Any]:
        """The metrics as numbers; what is not finite is null."""
        return document(path=self.path, task=self.task, metrics=dict(self.metrics))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        values = [units.metric(value) for value in self.metrics.values()]
        names = [printable(name) for name in self.metrics]
        yield Table([Column("metric", names), Column("value", values, right=True)])


@dataclass(frozen=True)
class DiffReport:
    """``wpack diff``."""

    a: str
    b: str
    difference: Difference

    def document(self) -> dict[str, Any]:
        """The whole difference."""
        fields = asdict(self.difference)
        return document(a=self.a, b=self.b, same=self.difference.same, **fields)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        found = self.difference
        tensors = _plural(found.compared, "tensor")
        if found.same:
            yield f"no difference in {tensors}"
            return
        for path, names in ((self.a, found.only_in_a), (self.b, found.only_in_b)):
            if names:
                shown = ", ".join(printable(name) for name in names[:SHOWN])
                more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
                yield _line(f"only in {printable(path)}: {shown}{more}")
        if found.differing:
            yield _line(
                f"{len(found.differing)} of {tensors} compared differ, at most by"
                f" {units.metric(found.max_abs)}; the first is"
                f" {printable(found.first)}"
            )
            yield ""
            yield self._differing()
            if len(found.differing) > SHOWN:
                yield f"and {len(found.differing) - SHOWN} more (--json lists all)"

    def _differing(self) -> Table:
        rows = self.difference.differing[:SHOWN]
        return Table(
            [
                Column("tensor", [printable(t.name) for t in rows], least=20),
                Column(
                    "max difference",
                    [units.metric(t.max_abs) for t in rows],
                    right=True,
                ),
                Column("values", [units.count(t.count) for t in rows], right=True),
                Column("of", [units.count(t.numel) for t in rows], right=True),
                Column("why", [printable(t.why) for t in rows], least=10),
            ]
        )


def written(path: str, nbytes: int) -> RenderResult:
    """``wrote PATH: 402.6 KiB (412,304 bytes)``."""
    from rich.text import Text

    text = Text("wrote ", no_wrap=True, overflow="ignore")
    text.append(printable(path), style="bold")
    text.append(f": {units.both(nbytes)}")
    yield text


def _plural(count: int, noun: str) -> str:
    return f"{units.count(count)} {noun}{'' if count == 1 else 's'}"


def _line(text: str) -> Text:
    """A line that no terminal's width breaks: paths and specs are copied from it."""
    from rich.text import Text

    return Text(text, no_wrap=True, overflow="ignore")
