"""The allocator keeps what is freed."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from typing import Any

import pytest

from wpack import allocator
from wpack.allocator import VARIABLES, keep_memory

#: Whether a second 64 MiB in eight blocks costs hardly a page fault.
FAULTS = """
import resource, sys
from wpack.allocator import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(b"x") * (8 << 20) for _ in range(8)]
    del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

kept = keep_memory()
faults()
print(kept, faults() < 1000)
"""


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that says nothing of the allocator."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("plain")
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_freed_memory_is_taken_again() -> None:
    """Large blocks that were freed together are there for the next ones."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )

    assert "True True\n" == done.stdout


@pytest.mark.parametrize("name", VARIABLES)
def test_the_environment_is_respected(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Who tunes the allocator keeps their tuning."""
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(allocator.ctypes, "CDLL", _unexpected)

    assert keep_memory() is False


@pytest.mark.usefixtures("plain")
def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without mallopt nothing happens."""
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())

    assert keep_memory() is False


def _unexpected(name: Any) -> Any:
    raise AssertionError("the C library was asked for")
