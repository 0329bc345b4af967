"""``SECURITY.md``: every promise has its proof, and the figures are today's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hostile.catalogue import CASES, NAMES
from tests.test_differential import MUTANTS, PLANS, SHARES

#: Those that have hostile files.
CODECS = (
    *("int", "zstd", "prune", "kmeans", "pow2"),
    *("float16", "bfloat16", "float8_e4m3"),
)
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
PROOFS = sorted(set(re.findall(r"`(tests/[^`]+?\.py::[^`]+)`", PAGE)))


@pytest.mark.parametrize("proof", PROOFS)
def test_proof_exists(proof: str) -> None:
    """A test of this name is defined in this file, and a case of this name is one."""
    path, test, case = re.fullmatch(r"(.+)::(\w+)(?:\[(\w+)\])?", proof).groups()  # type: ignore[union-attr]
    text = (ROOT / path).read_text(encoding="utf-8")

    assert re.search(rf"^def {test}\(", text, re.MULTILINE)
    assert case is None or case in NAMES


def test_every_promise_has_a_proof() -> None:
    """Row by row."""
    promised = PAGE.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in promised.splitlines() if line.startswith("| ")][1:]

    assert len(rows) >= 20
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.mark.technique("all_pairs", "hashed", "layered", "outer", "smh")
@pytest.mark.codec(*CODECS)
def test_figures() -> None:
    """The numbers on the page are the tests' own."""
    assert f"{len(CASES):,} cases" in PAGE
    assert f"| {SHARES * PLANS:,} |" in PAGE
    assert f"| {2 * MUTANTS:,} |" in PAGE
