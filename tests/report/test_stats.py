"""What files cost, as tables that add up."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

from tests.blobs import needs
from wpack.report import screen
from wpack.report.coding import stages
from wpack.report.stats import (
    StatsReport,
    decompression,
    loading,
    pools,
    shape,
    summary,
    tensors,
)
from wpack.report.table import Table
from wpack.stats import FileStats, LoadStats, TensorStats


def lines(report: object, monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """The report's lines in this many columns."""
    monkeypatch.setenv("COLUMNS", str(width))
    return screen.text(report, io.StringIO()).splitlines()


def column(table: Table, title: str) -> tuple[list[int], int]:
    """The numbers of a column and its total."""
    (found,) = (c for c in table.columns if c.title == title)
    numbers = [int(cell.replace(",", "")) for cell in found.cells if cell]
    return numbers, int(found.total.replace(",", ""))


def test_side_by_side(
    packed: FileStats, plain: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in rows, aligned, everything at 120 columns."""
    expected = [
        "file             format           bytes  header  working     free  ratio"
        "   inflated  zero-copy  copied",
        "─" * 102,
        "vit.wpool        wpool              408     200       68       52   1.31"
        "        272        144     128",
        "vit.safetensors  safetensors  4,000,000      96  999,976  999,976   1.00"
        "  3,999,904  3,999,904       0",
    ]

    assert expected == lines(summary([packed, plain]), monkeypatch, 120)


def test_side_by_side_in_80_columns(
    packed: FileStats, plain: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What costs the least to miss is left out; the sentence below has it."""
    expected = [
        "file             format           bytes  working     free  ratio   inflated",
        "─" * 75,
        "vit.wpool        wpool              408       68       52   1.31        272",
        "vit.safetensors  safetensors  4,000,000  999,976  999,976   1.00  3,999,904",
    ]

    assert expected == lines(summary([packed, plain]), monkeypatch, 80)


def test_one_file(packed: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole report of one file at 80 columns."""
    expected = """\
file       format  bytes  working  free  ratio  inflated  zero-copy  copied
───────────────────────────────────────────────────────────────────────────
vit.wpool  wpool     408       68    52   1.31       272        144     128

runs/vit.wpool: 408 bytes, 200 bytes of it header and padding; 272 bytes
inflated, 0.67 times as much; loads 144 bytes as views and copies 128 bytes

pool               technique  dtype    tensors  backing  working  ratio  bytes
──────────────────────────────────────────────────────────────────────────────
q                  global     float32        1       16       16   1.00     64
mlp                global     float32        2       32       48   1.50    128
(kept)                                       1        4        4            16
(header, padding)                                                          200
──────────────────────────────────────────────────────────────────────────────
total                                                52       68   1.31    408

no multiplication, no random access: pools are read in order of storage

tensor               shape  dtype    from   view  bytes
───────────────────────────────────────────────────────
blocks.0.qkv.weight  8x4    float32  q+mlp  yes      80
blocks.1.fc.weight   4x8    float32  mlp    no      112
blocks.1.fc.bias     4      float32  kept   yes      16
out.weight           8x4    float32  alias  yes       0
(header, padding)                                   200
───────────────────────────────────────────────────────
total                                               408
copied, crosses the end of its pool: blocks.1.fc.weight
"""

    assert expected.splitlines() == lines(StatsReport((packed,)), monkeypatch, 80)


def test_what_is_computed(computed: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's Table I pool by pool, and what loading took, adding up."""
    expected = """\
loaded by mmap  tensors  bytes  copied  milliseconds
────────────────────────────────────────────────────
views                 1     48       0
wrapped               1     32      12
computed              1    192     192           2.3
(opening)                                       10.0
────────────────────────────────────────────────────
total                 3    272     204          12.3
"""
    found = lines(StatsReport((computed,)), monkeypatch, 80)

    assert expected.splitlines() == found[found.index("") + 4 :][:8]

    expected = """\
pool   technique  views  multiplications  random accesses
─────────────────────────────────────────────────────────
q      global     yes                  0                0
mlp    layered    no                   0               16
out    smh        no               2,401                0
─────────────────────────────────────────────────────────
total                              2,401               16
"""

    assert expected.splitlines() == lines(decompression(computed), monkeypatch, 80)
    assert expected.splitlines()[-1] in found


def test_rounded_times_add_up(computed: FileStats) -> None:
    """Though 0.04 and 0.04 ms are less than 0.1 ms."""
    load = LoadStats(1, 1, 0, 0, 1, 1, 4e-5, 1, 0, 0.0, "copy", 8e-5)
    times = loading(load).columns[-1]

    assert (times.cells[2:], times.total) == (["0.0", "0.1"], "0.1")


def test_everything_adds_up(packed: FileStats, plain: FileStats) -> None:
    """Each column's cells add up to its total, and the total is the file's."""
    for file in (packed, plain):
        for table in (pools(file), tensors(file)):
            cells, total = column(table, "bytes")

            assert sum(cells) == total == file.file_bytes

        cells, total = column(pools(file), "backing")

        assert sum(cells) == total == file.free_parameters

        cells, total = column(pools(file), "working")

        assert sum(cells) == total == file.working_parameters


def test_no_tensors(packed: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the tensors the pools stay, and the reasons for copies."""
    report = StatsReport((packed,), tensors=False)
    found = lines(report, monkeypatch, 80)

    assert not any(line.startswith("tensor ") for line in found)
    assert found[-1] == "copied, crosses the end of its pool: blocks.1.fc.weight"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("file", ["0.qkv.weight", "1.fc.weight", "1.fc.bias", "out.weight"]),
        ("name", ["0.qkv.weight", "1.fc.bias", "1.fc.weight", "out.weight"]),
        ("size", ["1.fc.weight", "0.qkv.weight", "1.fc.bias", "out.weight"]),
    ],
)
def test_order(packed: FileStats, order: str, expected: list[str]) -> None:
    """Tensors as in the file, by name, or largest first."""
    names = tensors(packed, order).columns[0].cells  # type: ignore[arg-type]

    assert expected == [n.removeprefix("blocks.") for n in names[:-1]]


def test_document(packed: FileStats) -> None:
    """The normative document: raw integers, every tensor whatever people see."""
    document = StatsReport((packed,), tensors=False).document()
    (file,) = document["files"]

    assert document["schema_version"] == 1
    assert file["file_bytes"] == 408
    assert sum(t["stored_bytes"] for t in file["tensors"]) + file["header_bytes"] == 408
    assert file["pools"][1] == {
        "name": "mlp",
        "technique": "global",
        "dtype": "float32",
        "codecs": (),
        "backing": 32,
        "working": 48,
        "ratio": 1.5,
        "stored_bytes": 128,
        "tensors": 2,
        "multiplications": 0,
        "random_accesses": 0,
        "zero_copy": True,
        "decoded_bytes": 0,
        "stages": None,
        "entropy_bytes": None,
    }
    assert (file["exact"], file["decoded_bytes"], file["groups"]) == (True, 0, ())
    assert file["load"] is None
    assert file["tensors"][0]["parts"][1] == {
        "pool": "mlp",
        "start": 0,
        "length": 16,
        "numel": 16,
    }


def test_document_of_what_was_loaded(computed: FileStats) -> None:
    """Seconds and bytes as they were measured."""
    (file,) = StatsReport((computed,)).document()["files"]

    assert file["pools"][2]["multiplications"] == 2401
    assert file["load"] == {
        "backend": "mmap",
        "seconds": 0.0123456,
        "views": 1,
        "views_bytes": 48,
        "wrapped": 1,
        "wrapped_bytes": 32,
        "computed": 1,
        "computed_bytes": 192,
        "computed_seconds": 0.0023,
        "copied_bytes": 204,
        "decoded_bytes": 0,
        "decoded_seconds": 0.0,
    }


def test_names_are_escaped(plain: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile name neither colours the terminal nor breaks a line."""
    hostile = TensorStats(
        "\x1b[31m[bold]x\n", (1,), "float32", "kept", (), 3_999_904, True
    )
    file = replace(plain, path="a\x07/b\n", tensors=(hostile,))
    found = "\n".join(lines(StatsReport((file,)), monkeypatch, 80))

    assert "\\x1b[31m[bold]x\\n" in found
    assert "a\\x07/b\\n: 3.8 MiB" in found
    assert "\x1b" not in found


def test_files_of_two_folders(packed: FileStats, plain: FileStats) -> None:
    """Paths are shown where the names alone could be confused."""
    other = replace(plain, path="else/vit.safetensors")

    assert summary([packed, other]).columns[0].cells == [
        "runs/vit.wpool",
        "else/vit.safetensors",
    ]


@pytest.mark.parametrize(
    ("sizes", "expected"), [((), "scalar"), ((7,), "7"), ((64, 3, 7, 7), "64x3x7x7")]
)
def test_shape(sizes: tuple[int, ...], expected: str) -> None:
    """Sizes joined by the letter x, which every encoding has."""

    assert expected == shape(sizes)


@needs("prune, int, bfloat16, zstd")
def test_coded(coded: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pools with their codecs, what decoding took, and every stage with the bound."""
    expected = """\
runs/vit.wpool: 313 bytes, 200 bytes of it header and padding; 272 bytes
inflated, 0.87 times as much; decodes 144 bytes once, loads 144 bytes as views
and copies 128 bytes

loaded by memfd  tensors  bytes  copied  decoded  milliseconds
──────────────────────────────────────────────────────────────
views                  3    208       0
wrapped                1     32      12
computed               0      0       0                    0.0
(decoding)                                   144           1.5
(opening)                                                 10.8
──────────────────────────────────────────────────────────────
total                  4    240      12      144          12.3

pool               technique  codecs          backing  working  ratio  bytes
────────────────────────────────────────────────────────────────────────────
q                  global                          16       16   1.00     64
mlp                global     prune+int+zstd       32       48   1.50     41
(kept)                        bfloat16              4        4             8
(header, padding)                                                        200
────────────────────────────────────────────────────────────────────────────
total                                              52       68   1.31    313

no multiplication, no random access: pools are read in order of storage, once
decoded

stored    values  prune  int  bfloat16  zstd  entropy     over
──────────────────────────────────────────────────────────────
mlp          128     90   50              41       40    2.5 %
(1 kept)      16                     8              4  100.0 %
entropy: the least that coding symbol by symbol could reach; over: what was
reached beyond it
"""
    found = lines(StatsReport((coded,), tensors=False), monkeypatch, 80)

    assert expected.splitlines() == found[4:-1]
    for table in (pools(coded), tensors(coded)):
        cells, total = column(table, "bytes")
        assert sum(cells) == total == coded.file_bytes


def test_stages_that_nobody_told(coded: FileStats) -> None:
    """What a file does not say is not shown, and what is not coded has no stages."""
    silent = [replace(pool, stages=None, entropy_bytes=None) for pool in coded.pools]

    assert stages(replace(coded, pools=tuple(silent), groups=())) is None


@needs("prune, int, bfloat16, zstd")
def test_nothing_to_be_over(coded: FileStats) -> None:
    """A pool of one value repeated has no entropy, and no share of it either."""
    (pool,) = (replace(p, entropy_bytes=0) for p in coded.pools[1:])
    table = stages(replace(coded, pools=(pool,), groups=()))

    assert table is not None
    assert table.columns[-1].cells == [""]


def test_some_kept_tensors_are_coded(coded: FileStats) -> None:
    """The row of kept tensors says so where only some of them are."""
    more = TensorStats("norm.weight", (2,), "float32", "kept", (), 8, True)
    mixed = replace(coded, tensors=(*coded.tensors, more))

    assert [pools(f).columns[2].cells[2] for f in (coded, mixed)] == [
        "bfloat16",
        "partly bfloat16",
    ]


def test_upper_bounds(coded: FileStats, monkeypatch: pytest.MonkeyPatch) -> None:
    """A size that depends on values nobody has read yet is said to be the most."""
    bound = replace(coded, exact=False)
    side_by_side = lines(summary([bound]), monkeypatch, 80)
    by_pool = lines(pools(bound), monkeypatch, 80)

    assert "  at most 313  " in side_by_side[2]
    assert by_pool[-1].endswith("  at most 313")
