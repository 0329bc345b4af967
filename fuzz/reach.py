"""What share of the branches a target aims at its inputs reach.

``python -m fuzz.reach TARGET [FOLDER …]`` reads the inputs of the repository and of
the folders under coverage.py, and says of each module how many of its branches were
taken, and which lines were not reached.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import coverage


def main() -> None:
    """Measure one target."""
    name, *folders = sys.argv[1:]
    measured = coverage.Coverage(
        data_file=None, config_file=False, branch=True, source_pkgs=["wpack"]
    )
    with measured.collect():
        aims = _replay(name, folders)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        with contextlib.redirect_stdout(sys.stderr):
            measured.json_report(outfile=str(path))
        report = json.loads(path.read_text())
    taken = there = 0
    for module, summary, missing in _rows(report, aims):
        taken += summary["covered_branches"]
        there += summary["num_branches"]
        print(f"  {module:38} {_share(summary)}  {missing}")
    print(f"branches {_percent(taken, there)} of {there}")


def _replay(name: str, folders: list[str]) -> tuple[str, ...]:
    """Read all inputs, whatever comes of it."""
    from fuzz.corpus import files_of
    from fuzz.target import examine, named

    target = named(name)
    files = files_of(name)
    files += [path for folder in folders for path in sorted(Path(folder).iterdir())]
    for file in files:
        with contextlib.suppress(Exception):
            examine(target, file.read_bytes())
    return target.aims


def _rows(report: Any, aims: tuple[str, ...]) -> list[tuple[str, Any, str]]:
    """Module, summary and the lines not reached, of the modules aimed at."""
    found = []
    for file, measured in report["files"].items():
        parts = Path(file).with_suffix("").parts
        module = ".".join(parts[parts.index("wpack") :]).removesuffix(".__init__")
        if module in aims:
            lines = ", ".join(map(str, measured["missing_lines"]))
            found.append((module, measured["summary"], lines))
    return found


def _share(summary: Any) -> str:
    taken, there = summary["covered_branches"], summary["num_branches"]
    return f"{_percent(taken, there)} of {there:3} branches"


def _percent(taken: int, there: int) -> str:
    return f"{100 * taken / there if there else 100:3.0f} %"


if __name__ == "__main__":
    main()
