"""Run targets one after the other: ``python -m fuzz [--seconds 60] [target …]``.

One line a target, and exit status 1 where one had a finding.  New inputs, what
libFuzzer prints and findings stay in ``build/fuzz/<target>/``; the next run goes on
from there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from fuzz import NAMES
from fuzz.corpus import FOLDER, ROOT
from fuzz.target import VARIABLE, named, temporary

BUILD = ROOT / "build" / "fuzz"
#: Most memory of the process, longest input, and the longest wait for one.
_MEBIBYTES, _MAX_BYTES, _TIMEOUT = 4096, 1 << 17, 60
_RUNS = re.compile(r"^(?:#|Done )(\d+)\b", re.MULTILINE)
_DONE = re.compile(r"^Done \d+ runs in (\d+) second", re.MULTILINE)
_EDGES = re.compile(r"cov: (\d+) ft: ")


@dataclass(frozen=True)
class Ended:
    """How a target's run ended.

    Attributes:
        runs: Inputs that were read, and in how many seconds.
        edges: Places in wpack's code that they reached.
        findings: Inputs that did what none may do.
    """

    name: str
    runs: int
    seconds: int
    edges: int
    branches: str
    findings: tuple[Path, ...]

    def __str__(self) -> str:
        number = len(self.findings)
        found = f"{number or 'no'} finding{'s' * (number > 1)}"
        return (
            f"{self.name:14} {self.runs:10,} runs in {self.seconds:5,} s"
            f"  {self.edges:5,} edges  {self.branches}  {found}"
        )


def run(name: str, seconds: int) -> Ended:
    """Run a target for so many seconds, or to its first finding."""
    build = BUILD / name
    for folder in (build / "corpus", build / "findings"):
        folder.mkdir(parents=True, exist_ok=True)
    (build / "words.txt").write_text(_dictionary(named(name).words))
    before, started = set((build / "findings").iterdir()), time.monotonic()
    log = build / "log.txt"
    with log.open("w") as output, temporary() as scratch:
        status = subprocess.run(
            [
                *(sys.executable, "-m", "fuzz.engine", name),
                *(str(build / "corpus"), str(FOLDER / name)),
                *(f"-max_total_time={seconds}", f"-timeout={_TIMEOUT}"),
                *(f"-rss_limit_mb={_MEBIBYTES}", f"-max_len={_MAX_BYTES}"),
                f"-artifact_prefix={build / 'findings'}/",
                f"-dict={build / 'words.txt'}",
            ],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1", VARIABLE: scratch},
            check=False,
        ).returncode
    findings = sorted(set((build / "findings").iterdir()) - before)
    text = log.read_text(errors="replace")
    if status and not findings:
        sys.exit(f"{name} ended with status {status} and no finding; see {log}")
    return _ended(name, text, round(time.monotonic() - started), tuple(findings))


def _dictionary(words: Iterable[str]) -> str:
    """Words as libFuzzer takes them; it has no use for long ones."""
    encoded = {word.encode("utf-8", "surrogatepass") for word in words}
    kept = (word.hex(" ") for word in sorted(encoded) if 0 < len(word) <= 64)
    return "".join('"\\x{}"\n'.format(word.replace(" ", "\\x")) for word in kept)


def _ended(name: str, text: str, seconds: int, findings: tuple[Path, ...]) -> Ended:
    runs = max(map(int, _RUNS.findall(text)), default=0)
    edges = max(map(int, _EDGES.findall(text)), default=0)
    # Without the time that it takes to import torch.
    seconds = max(map(int, _DONE.findall(text)), default=seconds)
    return Ended(name, runs, seconds, edges, _branches(name), findings)


def _branches(name: str) -> str:
    """What share of its modules' branches a target has reached."""
    command = [sys.executable, "-m", "fuzz.reach", name, str(BUILD / name / "corpus")]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False
    )
    return ended.stdout.splitlines()[-1] if ended.stdout else "branches not measured"


def main() -> None:
    """Run the targets that were named, or all."""
    parser = argparse.ArgumentParser("python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.targets) - set(NAMES)):
        parser.error(f"no target {unknown[0]} (there are: {', '.join(NAMES)})")
    if find_spec("atheris") is None:
        sys.exit("atheris is not installed: pip install -e '.[dev,fuzz]'")
    found: list[tuple[str, Path]] = []
    for name in arguments.targets or NAMES:
        ended = run(name, arguments.seconds)
        print(ended, flush=True)
        found += [(name, path) for path in ended.findings]
    for name, path in found:
        print(f"To see it again: python -m fuzz.replay {name} {path.relative_to(ROOT)}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
