"""Read inputs as fuzzing does, without atheris: ``python -m fuzz.replay TARGET FILE…``.

Says of each how it was refused, or that it was accepted; a finding is raised.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fuzz.target import examine, named


def main() -> None:
    """Read the files that were named."""
    name, *files = sys.argv[1:]
    target = named(name)
    for file in files:
        print(f"{file}: {examine(target, Path(file).read_bytes()) or 'accepted'}")


if __name__ == "__main__":
    main()
