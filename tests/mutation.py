"""What ``make mutation`` found: the score, and which survivors nobody has explained.

Run after ``mutmut run``; see ``docs/mutation.md``.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

#: Of all changes, the share that some test must notice.
LEAST = 0.95
#: A change that makes a loop endless is noticed too.
NOTICED = {"killed", "timeout"}
EXPLAINED = Path(__file__).parents[1] / "docs" / "mutation.md"


def mutmut(*arguments: str) -> list[str]:
    """The lines that a command of mutmut prints."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def statuses() -> dict[str, str]:
    """Each change's name, and what became of it."""
    found: dict[str, str] = {}
    for line in mutmut("results", "--all", "true"):
        name, colon, status = line.strip().partition(": ")
        if colon:
            found[name] = status
    return found


def change(name: str) -> str:
    """The lines that a change puts in place of others."""
    return " ".join(
        line[1:].strip()
        for line in mutmut("show", name)
        if line.startswith("+") and not line.startswith("+++")
    )


def main() -> int:
    """Print both; returns an exit status."""
    found = statuses()
    counts = Counter(found.values())
    noticed = sum(counts[status] for status in NOTICED)
    print(f"{noticed} of {len(found)} changes noticed: {noticed / len(found):.1%}")
    print(", ".join(f"{count} {status}" for status, count in counts.most_common()))
    text = EXPLAINED.read_text("utf-8").replace("\\|", "|")
    left = {name: change(name) for name in found if found[name] not in NOTICED}
    unexplained = [name for name, line in left.items() if f"`{line}`" not in text]
    for name in unexplained:
        print(f"{name}: {found[name]}, not in {EXPLAINED.name}: {left[name]}")
    return int(bool(unexplained) or noticed < LEAST * len(found))


if __name__ == "__main__":
    sys.exit(main())
