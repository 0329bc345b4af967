"""Hashes and permutations: the test vectors of docs/format.md, and a second
implementation in plain Python integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.techniques import written_out
from wpack.permutation import permutation, seed_of, splitmix64, stream

FORMAT = Path(__file__).parents[1] / "docs" / "format.md"
words = st.integers(0, 2**64 - 1)


def test_splitmix64_vectors() -> None:
    """The published generator: state 0 first gives e220a8397b1dcdaf."""
    assert [splitmix64(x) for x in (0, 1, 2**64 - 1)] == [
        0xE220A8397B1DCDAF,
        0x910A2DEC89025CC1,
        0xE4D971771B652C20,
    ]


def test_stream_vectors() -> None:
    """The first outputs of seed 0, as docs/format.md lists them."""
    assert [f"{x:016x}" for x in stream(0, 0, 3).tolist()] == [
        "e220a8397b1dcdaf",
        "6e789e6aa1b965f4",
        "06c45d188009454f",
    ]


def test_seed_vectors() -> None:
    """Names in UTF-8, parts after a number sign."""
    assert seed_of(0, "w") == 0x46356EB082C9E29E
    assert seed_of(7, "blocks.0.qkv.weight#k") == 0xA2FC67266F2DC3A6


def test_permutation_vectors() -> None:
    """Two permutations of eight."""
    k = seed_of(7, "blocks.0.qkv.weight#k")

    assert permutation(0, 1, 0, 8).tolist() == [3, 1, 5, 4, 7, 2, 0, 6]
    assert permutation(k, 3, 2, 8).tolist() == [3, 6, 5, 4, 0, 1, 7, 2]


@pytest.mark.parametrize(
    "vector",
    [
        "`e220a8397b1dcdaf` `6e789e6aa1b965f4` `06c45d188009454f`",
        "`46356eb082c9e29e`",
        "`a2fc67266f2dc3a6`",
        "3 1 5 4 7 2 0 6",
        "3 6 5 4 0 1 7 2",
    ],
)
def test_the_document_has_the_vectors(vector: str) -> None:
    """What is asserted here is what docs/format.md says."""
    assert vector in FORMAT.read_text("utf-8")


@given(words, st.integers(0, 99), st.integers(0, 9))
def test_streams_in_plain_integers(seed: int, begin: int, numel: int) -> None:
    """Any stretch of any stream, one output at a time."""
    expected = [written_out.stream(seed, r) for r in range(begin, begin + numel)]

    assert stream(seed, begin, begin + numel).tolist() == expected


@given(words, st.integers(0, 2**20), st.integers(0, 9), st.integers(1, 60))
def test_permutations_in_plain_integers(
    seed: int, lap: int, factor: int, length: int
) -> None:
    """Sorting (key, position) pairs gives the same order."""
    expected = written_out.permutation(seed, lap, factor, length)

    assert permutation(seed, lap, factor, length).tolist() == expected


@given(st.integers(-(2**70), 2**70), st.text())
def test_seeds_in_plain_integers(seed: int, label: str) -> None:
    """The hash of the decimal seed and the name."""
    label = label.encode("utf-8", "replace").decode()

    assert seed_of(seed, label) == written_out.seed_of(seed, label)


def test_a_permutation_is_shared_and_read_only() -> None:
    """It is remembered, so nobody may write to it."""
    with pytest.raises(ValueError, match="read-only"):
        permutation(1, 2, 3, 4)[0] = 0

    assert permutation(1, 2, 3, 4).dtype == np.int64
