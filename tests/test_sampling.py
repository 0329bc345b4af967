"""Orders, batches and random numbers by formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wpack import sampling
from wpack.errors import TrainingError
from wpack.sampling import Sampler


def test_splitmix64_vectors() -> None:
    """The first outputs for the seeds 0 and 1234567, as published."""
    expected = [0xE220A8397B1DCDAF, 6457827717110365317]

    assert expected == [sampling.splitmix64(0), sampling.splitmix64(1234567)]
    assert expected == sampling.splitmix64(np.array([0, 1234567], np.uint64)).tolist()


def splitmix64(state: int) -> int:
    """The definition in plain integers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


def test_permutation_by_definition() -> None:
    """Examples in the order of splitmix64(start ^ splitmix64(number)), where start
    mixes the seed and the epoch: the same on every machine and for ever."""
    start = splitmix64(splitmix64(7) ^ 2)
    expected = sorted(range(50), key=lambda i: splitmix64(start ^ splitmix64(i)))

    assert expected == sampling.permutation(50, 7, 2).tolist()


@given(st.integers(0, 300), st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_permutation_has_each_once(numel: int, seed: int, epoch: int) -> None:
    """Each example comes once an epoch."""
    order = sampling.permutation(numel, seed, epoch)

    assert list(range(numel)) == sorted(order.tolist())


@pytest.mark.parametrize("changed", [(1, 0), (0, 1)])
def test_permutations_differ(changed: tuple[int, int]) -> None:
    """Another seed or another epoch is another order."""
    first = sampling.permutation(100, 0, 0)

    assert first.tolist() != sampling.permutation(100, *changed).tolist()


def test_mixed_tells_numbers_apart() -> None:
    """Seeds depend on each number, its place and how many there are."""
    seeds = {
        sampling.mixed(*n) for n in [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (-1,)]
    }

    assert 7 == len(seeds)


def test_batches_of_an_epoch() -> None:
    """An epoch's batches are full and disjoint; what is left over is left out."""
    sampler = Sampler(11, 4, seed=3)
    batches = [sampler.indices(step).tolist() for step in range(2)]

    assert 2 == sampler.steps_per_epoch
    assert sampling.permutation(11, 3, 0)[:8].tolist() == [*batches[0], *batches[1]]


def test_batches_have_no_state() -> None:
    """A step's batch is the same whichever was asked for before."""
    forward, backward = Sampler(10, 3, 0), Sampler(10, 3, 0)
    steps = list(range(9))
    expected = {step: forward.indices(step).tolist() for step in steps}

    assert expected == {s: backward.indices(s).tolist() for s in reversed(steps)}


def test_t08_empty_data() -> None:
    """No examples, no training."""
    with pytest.raises(TrainingError) as caught:
        Sampler(0, 4, 0)

    assert "train: the training data are empty" == str(caught.value)


def test_t08_batch_larger_than_the_data() -> None:
    """A batch that the data cannot fill is refused, with the largest that they can."""
    with pytest.raises(TrainingError) as caught:
        Sampler(7, 8, 0)

    assert (
        "train: batch_size is 8, but the training data have 7 examples."
        " Set finetune.batch_size to 7 or less"
    ) == str(caught.value)


def test_seeded_block() -> None:
    """Inside the block torch draws what the seed says; outside nothing happens."""
    cpu = torch.device("cpu")
    torch.manual_seed(5)
    expected_outside = torch.rand(3)
    torch.manual_seed(5)
    with sampling.seeded(cpu, 1, 2):
        first = torch.rand(3)
    outside = torch.rand(3)
    with sampling.seeded(cpu, 1, 2):
        second = torch.rand(3)

    assert torch.equal(expected_outside, outside)
    assert torch.equal(first, second)
    assert not torch.equal(first, outside)


def test_generator() -> None:
    """Equal numbers give equal streams, others do not."""
    draws = [
        torch.rand(4, generator=sampling.generator(*numbers)).tolist()
        for numbers in [(1, 2), (1, 2), (2, 1)]
    ]

    assert draws[0] == draws[1] != draws[2]
