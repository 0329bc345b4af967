"""The benchmark of decompression: what it compares, and that it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import decompression
from benchmarks.decompression import VARIANTS, asked, blocks
from wpack import techniques
from wpack.table import Block


@pytest.mark.parametrize("ratio", [2, 4])
@pytest.mark.parametrize("name", VARIANTS)
def test_all_have_the_same_ratio(name: str, ratio: float) -> None:
    """Whatever they round, the pools compared are of one size to a thousandth."""
    technique = techniques.named(name.partition(",")[0])(**VARIANTS[name])
    working = sum(block.numel for block in blocks())
    table = technique.layout(blocks(), int(working / asked(name, ratio)))

    assert ratio == pytest.approx(working / table.backing, rel=1e-3)


def test_the_kernels_are_resnet_50s() -> None:
    """52 of them, as torchvision's model has them but for the first and the head."""
    assert (52, 23_445_504) == (len(blocks()), sum(block.numel for block in blocks()))


def test_every_variant_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One row each, with times, rates and bytes."""
    small = [Block(f"k{i}", (16, 8, 3, 3), 0, 1152, "") for i in range(2)]
    monkeypatch.setattr(decompression, "blocks", lambda: small)
    monkeypatch.setattr(decompression, "keep_heap", lambda: None)
    path = tmp_path / "results.json"
    arguments = ["decompression.py", "--repeats", "2", "--output", str(path)]
    monkeypatch.setattr(sys, "argv", arguments)
    decompression.main()
    rows = {row["technique"]: row for row in json.loads(path.read_text())["rows"]}

    assert list(VARIANTS) == list(rows)
    assert {4 * 2304} == {row["made_bytes"] for row in rows.values()}
    assert 4 * (2304 + 1152) == rows["global"]["moved_bytes"]
    if "hashed" in rows:
        assert 4 * (2304 + 1152 + 2304) == rows["hashed"]["moved_bytes"]
    assert all(row["gigabytes_per_second"] > 0 for row in rows.values())
