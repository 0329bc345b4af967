"""What files cost: side by side, pool by pool, tensor by tensor, adding up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from . import coding, units
from .document import document
from .names import gathered, printable, without_folder
from .table import Column, Table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from ..stats import FileStats, LoadStats, PoolStats, TensorStats

Order = Literal["file", "name", "size"]

_KEPT = "(kept)"
_HEADER = "(header, padding)"
_TOTAL = "total"
# Columns of the pools' table, and how they behave where there is little room.
_POOL_LOOKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("pool", {"least": len(_HEADER)}),
    ("technique", {"rank": 2}),
    ("codecs", {"rank": 1, "least": 16}),
    ("dtype", {"rank": 3}),
    ("tensors", {"right": True, "rank": 4}),
    ("backing", {"right": True}),
    ("working", {"right": True}),
    ("ratio", {"right": True}),
    ("bytes", {"right": True}),
)


@dataclass(frozen=True)
class StatsReport:
    """``wpack stats``.

    Attributes:
        tensors: Whether to list the tensors for people; the document always does.
        order: How tensors are sorted: as in the file, by name, or largest first.
    """

    files: tuple[FileStats, ...]
    tensors: bool = True
    order: Order = "file"

    def document(self) -> dict[str, Any]:
        """The normative document of ``wpack stats --json``."""
        return document(files=[file.to_json() for file in self.files])

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield summary(self.files)
        for file in self.files:
            yield ""
            yield costs(file)
            if file.load is not None:
                yield ""
                yield loading(file.load)
            if file.pools:
                yield ""
                yield pools(file)
                yield ""
                yield decompression(file)
            yield from coding.of(file)
            if self.tensors:
                yield ""
                yield tensors(file, self.order)
            yield from copies(file)


def summary(files: Sequence[FileStats]) -> Table:
    """Files side by side, a row a file."""

    def numbers(title: str, values: Sequence[int], rank: int = 0) -> Column:
        return Column(title, [units.count(v) for v in values], right=True, rank=rank)

    sizes = [units.at_most(f.file_bytes, f.exact) for f in files]
    return Table(
        [
            Column("file", without_folder([file.path for file in files]), least=16),
            Column("format", [f.format for f in files], rank=1),
            Column("bytes", sizes, right=True),
            numbers("header", [f.header_bytes for f in files], rank=5),
            numbers("working", [f.working_parameters for f in files]),
            numbers("free", [f.free_parameters for f in files]),
            Column("ratio", [units.ratio(f.ratio) for f in files], right=True),
            numbers("inflated", [f.inflated_bytes for f in files], rank=2),
            numbers("zero-copy", [f.zero_copy_bytes for f in files], rank=3),
            numbers("copied", [f.copied_bytes for f in files], rank=4),
        ]
    )


def costs(file: FileStats) -> Text:
    """One file in words, with its sizes in units that people read."""
    from rich.text import Text

    text = Text(printable(file.path), style="bold")
    text.append(
        f": {units.both(file.file_bytes)}, {units.both(file.header_bytes)} of it header"
        f" and padding; {units.both(file.inflated_bytes)} inflated,"
        f" {_times(file.inflated_bytes, file.file_bytes)}",
        style="not bold",
    )
    if file.format == "wpool":
        decodes = f"decodes {units.both(file.decoded_bytes)} once, " * bool(
            file.decoded_bytes
        )
        text.append(
            f"; {decodes}loads {units.both(file.zero_copy_bytes)} as views and copies"
            f" {units.both(file.copied_bytes)}",
            style="not bold",
        )
    return text


def loading(load: LoadStats) -> Table:
    """What opening a file and taking its tensors took; every column adds up."""
    total = round(1e3 * load.seconds, 1)
    computed = round(1e3 * load.computed_seconds, 1)
    decoded = round(1e3 * load.decoded_seconds, 1)
    appended = load.copied_bytes - load.computed_bytes
    decoding = ["(decoding)"] * bool(load.decoded_bytes)

    def numbers(title: str, *values: int) -> Column:
        cells = [*map(units.count, values), *([""] * len(decoding)), ""]
        return Column(title, cells, units.count(sum(values)), right=True)

    rows = ["views", "wrapped", "computed", *decoding, "(opening)"]
    times = ["", "", f"{computed:,.1f}", *(f"{decoded:,.1f}" for _ in decoding)]
    times.append(f"{total - computed - decoded:,.1f}")
    once = units.count(load.decoded_bytes)
    return Table(
        [
            Column(f"loaded by {load.backend}", rows, _TOTAL),
            numbers("tensors", load.views, load.wrapped, load.computed),
            numbers("bytes", load.views_bytes, load.wrapped_bytes, load.computed_bytes),
            numbers("copied", 0, appended, load.computed_bytes),
            *(
                Column("decoded", ["", "", "", once, ""], once, right=True)
                for _ in decoding
            ),
            Column("milliseconds", times, f"{total:,.1f}", right=True),
        ]
    )


def pools(file: FileStats) -> Table:
    """The pools, the kept tensors and the rest of the file; bytes, backing and working
    weights add up to the file's."""
    kept = [t for t in file.tensors if t.kind == "kept"]
    kept_bytes = units.count(sum(t.stored_bytes for t in kept))
    parameters = units.count(file.kept_parameters)
    header = units.count(file.header_bytes)
    tensors = units.count(len(kept))
    chains = dict.fromkeys(map(coding.chain, file.groups))
    grouped = sum(group.tensors for group in file.groups)
    by = "partly " * (0 < grouped < len(kept)) + ", ".join(chains)
    rows = [
        *map(_pool_cells, file.pools),
        (_KEPT, "", by, "", tensors, parameters, parameters, "", kept_bytes),
        (_HEADER, "", "", "", "", "", "", "", header),
    ]
    totals = (
        *(_TOTAL, "", "", "", ""),
        units.count(file.free_parameters),
        units.count(file.working_parameters),
        units.ratio(file.ratio),
        units.at_most(file.file_bytes, file.exact),
    )
    looks = zip(_POOL_LOOKS, zip(*rows, strict=True), totals, strict=True)
    return Table(
        [
            Column(title, cells, total, **look)
            for (title, look), cells, total in looks
            if title != "codecs" or any(cells)
        ]
    )


def _pool_cells(pool: PoolStats) -> tuple[str, ...]:
    return (
        printable(pool.name),
        pool.technique,
        coding.chain(pool),
        pool.dtype,
        units.count(pool.tensors),
        units.count(pool.backing),
        units.count(pool.working),
        units.ratio(pool.ratio),
        units.count(pool.stored_bytes),
    )


def decompression(file: FileStats) -> Table | Text:
    """What makes working weights of the pools: the paper's Table I, as counts."""
    from rich.text import Text

    if all(pool.zero_copy for pool in file.pools):
        once = ", once decoded" if any(pool.codecs for pool in file.pools) else ""
        return Text(
            "no multiplication, no random access: pools are read in order of storage"
            + once
        )

    def numbers(title: str, values: list[int]) -> Column:
        cells = [units.count(value) for value in values]
        return Column(title, cells, units.count(sum(values)), right=True)

    return Table(
        [
            Column("pool", [printable(p.name) for p in file.pools], _TOTAL, least=16),
            Column("technique", [p.technique for p in file.pools], rank=1),
            Column("views", ["yes" if p.zero_copy else "no" for p in file.pools]),
            numbers("multiplications", [p.multiplications for p in file.pools]),
            numbers("random accesses", [p.random_accesses for p in file.pools]),
        ]
    )


def tensors(file: FileStats, order: Order = "file") -> Table:
    """The tensors; their bytes and the header's add up to the file's.

    A pooled tensor's bytes are its share of its pools, by working weights.
    """
    rows = sorted_tensors(file.tensors, order)
    return Table(
        [
            Column(
                "tensor",
                [*(printable(t.name) for t in rows), _HEADER],
                total=_TOTAL,
                least=20,
            ),
            Column("shape", [*(shape(t.shape) for t in rows), ""], least=9),
            Column("dtype", [*(t.dtype for t in rows), ""], rank=2),
            Column("from", [*(origin(t) for t in rows), ""], least=6, rank=1),
            Column(
                "view",
                [*("yes" if t.zero_copy else "no" for t in rows), ""],
                rank=3,
            ),
            Column(
                "bytes",
                [
                    *(units.count(t.stored_bytes) for t in rows),
                    units.count(file.header_bytes),
                ],
                total=units.count(file.file_bytes),
                right=True,
            ),
        ]
    )


def copies(file: FileStats) -> RenderResult:
    """Why tensors are no views, a line a reason."""
    from rich.text import Text

    reasons: dict[str, list[str]] = {}
    for tensor in file.tensors:
        if not tensor.zero_copy and tensor.why_copied:
            reasons.setdefault(tensor.why_copied, []).append(printable(tensor.name))
    for why, names in reasons.items():
        yield Text(f"copied, {printable(why)}: {', '.join(gathered(names))}")


def sorted_tensors(
    tensors: Sequence[TensorStats], order: Order
) -> Sequence[TensorStats]:
    """The tensors as in the file, by name, or largest first."""
    if order == "name":
        return sorted(tensors, key=lambda t: t.name)
    if order == "size":
        return sorted(tensors, key=lambda t: -t.stored_bytes)
    return tensors


def shape(sizes: Sequence[int]) -> str:
    """``64x3x7x7``; a scalar has none."""
    return "x".join(map(str, sizes)) or "scalar"


def origin(tensor: TensorStats) -> str:
    """The pools a tensor reads, or its kind."""
    pools = dict.fromkeys(printable(part.pool) for part in tensor.parts)
    return "+".join(pools) or tensor.kind


def _times(large: int, small: int) -> str:
    return f"{large / small:.2f} times as much" if small else "from nothing"
