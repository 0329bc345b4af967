"""A run of ``wpack finetune`` that takes a tenth of a second, for tests that end it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tests import jobs
from tests.processes import ended
from tests.tiny import network

#: Three epochs of four steps, saved every other step.  By its loss the best step is a
#: late one: what is written has been trained.
SPEC = """
version: 1
pools: {main: {tensors: ["*.weight"], ratio: 1.5}}
finetune:
  task: tests.jobs:points
  metric: loss
  epochs: 3
  batch_size: 6
  save_every: 2
  optimizer: {name: adamw, lr: 0.03}
"""
STEPS = 12
SAVE_EVERY = 2
OUTPUT = "out.wpool"
RUN = "out.wpool.run"


@dataclass(frozen=True)
class Whole:
    """What a run needs, and what it gives when nobody ends it.

    Attributes:
        folder: Holds the checkpoint and the spec; runs have folders in it.
        result: The file it writes.
    """

    folder: Path
    result: bytes


def arguments(spec: str = "../spec.yaml") -> list[str]:
    """Begin the run in the current folder, or go on with it."""
    words = f"finetune ../tiny.safetensors -s {spec} -o {OUTPUT}"
    return [*words.split(), "--device", "cpu", "--resume", "auto"]


def whole(folder: Path) -> Whole:
    """Prepare a folder for runs, and run once to the end."""
    save_file(network().state_dict(), folder / "tiny.safetensors")
    (folder / "spec.yaml").write_text(SPEC)
    done = ended(folder / "whole", jobs.command, *arguments())

    assert (0, "") == (done.status, done.err.partition("wpack: error")[2])
    (finished,) = [r for r in log(folder / "whole") if r["event"] == "finished"]
    assert finished["step"] > STEPS // 2
    return Whole(folder, (folder / "whole" / OUTPUT).read_bytes())


def log(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's log; each line must be one."""
    path = folder / RUN / "log.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def told(folder: Path) -> int:
    """The last step that a run has told of."""
    return max((r["step"] for r in log(folder) if r["event"] == "step"), default=0)


def saved(folder: Path) -> list[int]:
    """The steps whose states have their names."""
    found = [re.fullmatch(r"step-(\d+)", path.name) for path in folder.glob("*.run/*")]
    return sorted(int(match[1]) for match in found if match)


def temporaries(folder: Path) -> list[str]:
    """What should never be left behind."""
    return [path.name for path in folder.rglob(".*.tmp")]


def resumed(folder: Path, *more: str) -> int:
    """Go on with a run to its end; the step that it went on from.

    Args:
        more: Words of the command.
    """
    done = ended(folder, jobs.command, *arguments(), *more)

    assert 0 == done.status, done.err
    assert [] == temporaries(folder)
    found = re.findall(r"note: \S+: (?:resuming at step (\d+)|nothing)", done.err)
    assert 1 == len(found)
    return int(found[0] or 0)
