"""``docs/faults.md``: every fault has its row, and every test it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.hostile.catalogue import NAMES

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "faults.md"
#: Letter → faults of the catalogue.
FAULTS = {"H": 30, "S": 20, "C": 18, "Y": 12, "W": 13, "M": 7, "T": 10, "U": 9}
IDS = [f"{letter}{n:02}" for letter, most in FAULTS.items() for n in range(1, most + 1)]


@cache
def rows() -> dict[str, list[str]]:
    """Fault → what it is, what wpack does, and the proof."""
    found = re.findall(r"^\| ([A-Z]\d\d) \|(.+)\|$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(found) == len(dict(found))
    return {number: [c.strip() for c in cells.split("|")] for number, cells in found}


@cache
def defined_in(file: str) -> set[str]:
    """The names a file defines at its top."""
    path = TESTS / file
    if not path.exists():
        return set()
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.Assign):
            names |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return names


def hostile(number: str) -> list[str]:
    """The hostile inputs of a fault."""
    wanted = re.compile(rf"(?<![A-Z0-9]){number}(?!\d)", re.IGNORECASE)
    return [name for name in NAMES if wanted.search(name)]


def test_every_fault_has_its_row() -> None:
    """In order, each once, with three cells."""
    assert IDS == list(rows())
    assert {3} == {len(cells) for cells in rows().values()}


@pytest.mark.parametrize("number", IDS)
def test_proofs_exist(number: str) -> None:
    """What a row names exists; a row that names nothing says why the fault does not
    apply; one whose fault has hostile inputs names them."""
    _, does, proof = rows()[number]
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", f"{does} {proof}")
    lacking = [f"{f}::{name}" for f, name in named if name not in defined_in(f)]
    cited = re.findall(r"hostile\[(\w+)\]", proof)

    assert [] == lacking
    assert ([number] if hostile(number) else []) == cited
    assert named or cited or (does.split(": ")[0], proof) == ("does not apply", "none")
