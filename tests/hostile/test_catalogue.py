"""The catalogue itself: how many cases there are, what they cover, and that what the
warm processes say is what a fresh one says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hostile.catalogue import CASES, NAMES
from tests.hostile.test_hostile import words
from tests.hostile.warm import ENVIRONMENT

TESTS = Path(__file__).parents[1]
#: The catalogue's rows for files, slice tables, checkpoints and specs.
ROWS = [
    f"{kind}{row:02}"
    for kind, rows in {"H": 30, "S": 20, "C": 18, "Y": 12}.items()
    for row in range(1, rows + 1)
]
#: Cases that a fresh process meets as well: a header, a plan, an index, a spec, and a
#: pickle, for which it imports torch.
FRESH = [
    *("h17_cut_by_a_byte", "s09_in_a_thousand_parts", "c12_file_above"),
    *("y01_key_misspelt", "c01_call_beside_tensors"),
]


def rows_of(names: Iterator[str]) -> set[str]:
    """The rows that stand in names."""
    return {found.upper() for name in names for found in _rows_in(name)}


def _rows_in(name: str) -> list[str]:
    return re.findall(r"(?:^|(?<=[_ ]))[hscy]\d\d(?=[_ ])", name.lower())


def test_there_are_enough() -> None:
    """At least 120, each a function or a row of its own."""
    assert len(CASES) >= 120


def test_every_row_has_a_test() -> None:
    """What is no refusal, and so no case, is tested elsewhere under its row's name."""
    files = TESTS.rglob("test_*.py")
    texts = (path.read_text(encoding="utf-8") for path in files)
    tests = (name for text in texts for name in re.findall(r"def test(_\w+)", text))

    assert set(ROWS) - rows_of(iter(NAMES)) - rows_of(tests) == set()


@pytest.mark.parametrize("name", FRESH)
def test_fresh_processes_say_the_same(
    shelf: dict[str, str], tmp_path: Path, name: str
) -> None:
    """Nothing comes of having been forked."""
    case = CASES[name](tmp_path)
    arguments = words(case.commands[0], case.file, shelf)
    ended = subprocess.run(
        [sys.executable, "-m", "wpack", *arguments],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stdout) == (case.status, "")
    assert ended.stderr == f"wpack: error: {case.says}\n"
