"""Fixtures of the hostile suite."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.crafting import safetensors
from tests.hostile.warm import Warm

#: A task for the sound checkpoint; it has no data, for no command gets that far.
_TASK = """
from torch import nn
from wpack.tasks import Task


class Nothing(Task):
    def model(self):
        return nn.Linear(4, 6)

    def data(self, split):
        return None

task = Nothing()
"""


@pytest.fixture(scope="session", autouse=True)
def _linux() -> None:
    """What a process takes is measured as Linux measures it."""
    if sys.platform != "linux":
        pytest.skip("needs Linux")


@pytest.fixture(scope="session")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Processes that run commands which need no torch."""
    with Warm(tmp_path_factory.mktemp("light"), torch=False) as process:
        yield process


@pytest.fixture(scope="session")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Processes that run commands which do."""
    with Warm(tmp_path_factory.mktemp("heavy"), torch=True) as process:
        yield process


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands need beside the hostile input, all of it sound."""
    folder = tmp_path_factory.mktemp("shelf")
    stored = [("weight", "F32", [6, 4], bytes(96)), ("bias", "F32", [6], bytes(24))]
    (folder / "sound.safetensors").write_bytes(safetensors(stored))
    (folder / "task.py").write_text(_TASK)
    return {
        "sound": str(folder / "sound.safetensors"),
        "task": f"{folder / 'task.py'}:task",
    }
