"""The loading benchmark's parts, on a file small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.load import infos, make_files, open_times, same_bits, take_plain
from wpack.backends import BACKENDS
from wpack.stats import parameters


def test_default_model_is_a_gibibyte() -> None:
    """The matrices of the default size hold 1 GiB of float32, within a hundredth."""
    matrices = [info for info in infos(12, 1365) if len(info.shape) == 2]
    nbytes = 4 * parameters(matrices)

    assert 84 == len(matrices)
    assert abs(nbytes / (1 << 30) - 1) < 1e-2


@pytest.mark.parametrize("biases", [False, True])
def test_files_load_with_equal_bits(tmp_path: Path, biases: bool) -> None:
    """What is measured is the same model twice, and the pool's file is smaller."""
    tensors = infos(2, 66, biases)
    pool, inflated = make_files(tmp_path, tensors)
    found = same_bits(pool, inflated)
    times = open_times(pool, inflated, 2)

    assert {backend: True for backend in BACKENDS} == {
        backend: found[backend]["equal_bits"] for backend in BACKENDS
    }
    assert {info.name for info in tensors} == set(take_plain(inflated))
    assert pool.stat().st_size < inflated.stat().st_size / 2
    assert times["ratio"] > 0
