"""A process that may have few files open (U06)."""

from __future__ import annotations

import os
import re
import resource
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import jobs
from tests.processes import ended


def with_more(descriptors: int, *words: str) -> None:
    """Run a command that may open so many files beyond those that are open."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    opened: list[int] = []
    with suppress(OSError):
        while True:
            opened.append(os.dup(0))
    for fd in opened[:descriptors]:
        os.close(fd)
    jobs.command(*words)


def test_few_are_enough(tmp_path: Path) -> None:
    """Eight files more do for the whole way there and back."""
    save_file({"w": np.ones((32, 32), "f4")}, tmp_path / "m.safetensors")
    for words in (
        "compress m.safetensors --ratio 2 -o m.wpool",
        "verify m.wpool",
        "inflate m.wpool -o back.safetensors",
    ):
        done = ended(tmp_path, with_more, 8, *words.split())

        assert 0 == done.status, done.err


@pytest.mark.parametrize("descriptors", [1, 2, 3])
def test_too_few_are_an_error_in_words(tmp_path: Path, descriptors: int) -> None:
    """Where the system has no more it is said of which file, and nothing is left."""
    save_file({"w": np.ones((32, 32), "f4")}, tmp_path / "m.safetensors")
    words = "compress m.safetensors --ratio 2 -o m.wpool"
    done = ended(tmp_path, with_more, descriptors, *words.split())
    found = {path.name for path in tmp_path.iterdir()} - {"out", "err"}

    if done.status == 0:
        assert {"m.safetensors", "m.wpool"} == found
    else:
        assert 1 == done.status
        assert re.fullmatch(r"wpack: error: \S+: .*Too many open files\n", done.err)
        assert {"m.safetensors"} == found
