"""Commands run in real processes that cost milliseconds: see ``warm_process.py``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import wpack

ROOT = Path(wpack.__file__).parents[1]
MEBIBYTE = 1 << 20
#: What a command finds around it.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": str(ROOT),
    "LC_ALL": "C.UTF-8",
    "OMP_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",  # Of a task's file: no output of wpack's.
}


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status, or minus the number of the signal that ended it.
        seconds: Processor time that it took.
        nbytes: Memory that it took, beyond what a process that only says its version
            takes.
    """

    status: int
    out: str
    err: str
    seconds: float
    nbytes: int


class Warm:
    """A context manager.

    Args:
        home: A folder of its own, for what commands print.
        torch: Whether the process has imported torch before it forks.
    """

    def __init__(self, home: Path, *, torch: bool) -> None:
        self._out, self._err = home / "out", home / "err"
        script = Path(__file__).with_name("warm_process.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), *(["torch"] if torch else [])],
            env={**ENVIRONMENT, "HOME": str(home), "TMPDIR": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()
        self._least = 0
        self._least = self.run(home, "--version").nbytes

    def run(self, folder: Path, *arguments: str, mebibytes: int = 200) -> Ended:
        """Run ``wpack`` with these arguments in a folder.

        Args:
            mebibytes: Memory that it may have beyond the warm process's own.
        """
        order = {
            "folder": str(folder),
            "arguments": arguments,
            "out": str(self._out),
            "err": str(self._err),
            "more_nbytes": mebibytes * MEBIBYTE,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._read())
        return Ended(
            answer["status"],
            self._out.read_text(errors="surrogateescape"),
            self._err.read_text(errors="surrogateescape"),
            answer["seconds"],
            answer["resident_nbytes"] - self._least,
        )

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the warm process has ended"
        return line

    def __enter__(self) -> Warm:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
