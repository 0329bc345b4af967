"""Run folders for tests, and an ``os`` that tells of its calls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from wpack.runs import Run, State

CONFIG = {"recipe": {"lr": 0.1, "betas": [0.9, 0.99]}, "plan": "a" * 64}
#: Calls of the operating system that a save makes and that can fail.
CALLS = (
    "mkdir",
    "open",
    "posix_fallocate",
    "pwrite",
    "fsync",
    "dup",
    "close",
    "replace",
    "rename",
)


class Watched:
    """Passes calls on; before each of :data:`CALLS` it calls ``before`` with the call's
    number, from 1.

    Args:
        system: What it passes them on to; None is ``os``, but that nothing is flushed,
            which would take most of the time.
    """

    def __init__(self, before: Any, system: Any = None) -> None:
        self.count = 0
        self._before = before
        self._system = system

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._system or os, name)
        if name not in CALLS:
            return real

        def call(*args: Any) -> Any:
            self.count += 1
            self._before(self.count)
            return real(*args) if self._system or name != "fsync" else None

        return call


def save(run: Run, step: int) -> Path:
    """Save a state whose tensors tell its step."""
    weights = {"w": torch.full((3,), float(step))}
    return run.save(step, {"step": step}, {"training": weights, "best": weights})


def started(folder: Path, steps: tuple[int, ...] = (), **options: Any) -> Run:
    """A run with states of these steps."""
    run = Run(folder, **options)
    run.start(CONFIG)
    for step in steps:
        save(run, step)
    return run


def resumed(folder: Path, config: dict[str, Any] = CONFIG) -> tuple[State | None, Run]:
    """What a run would go on from."""
    with Run(folder, resume=True) as run:
        return run.start(config), run


def listing(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())
