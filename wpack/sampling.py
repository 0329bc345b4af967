"""Which examples a step sees, and its random numbers: by formula from the seed.

Nothing here has state.  A run that stops after any step and resumes needs its seed and
the step's number to go on exactly, whatever else drew random numbers in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch

from .errors import TrainingError

_MASK = (1 << 64) - 1
_State = TypeVar("_State", int, np.ndarray)


def splitmix64(state: _State) -> _State:
    """The splitmix64 output for a 64-bit state (Steele, Lea, Flood), or for each of an
    array of them, uint64."""
    z = (state + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def mixed(*numbers: int) -> int:
    """One 64-bit seed from several integers, each of which changes all its bits."""
    state = 0
    for number in numbers:
        state = splitmix64(state ^ (number & _MASK))
    return state


def permutation(numel: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch, ``(numel,)`` int64: examples by a hash of their number."""
    start = np.uint64(mixed(seed, epoch))
    keys = splitmix64(start ^ splitmix64(np.arange(numel, dtype=np.uint64)))
    return np.argsort(keys, kind="stable")


class Sampler:
    """Batches of example numbers, each epoch in an order of its own.

    Every batch is full: what is left of an epoch after its last full batch is left out
    (other examples each time, for the order changes), because a batch of one breaks
    batch normalisation and a loss averaged over fewer examples weighs them more.

    Args:
        numel: Examples in the training data.
        batch: Examples a batch.

    Raises:
        TrainingError: There is not one full batch.
    """

    def __init__(self, numel: int, batch: int, seed: int) -> None:
        if numel == 0:
            raise TrainingError("the training data are empty", where="train")
        if batch > numel:
            raise TrainingError(
                f"batch_size is {batch}, but the training data have {numel} examples",
                where="train",
                hint=f"Set finetune.batch_size to {numel} or less",
            )
        self.numel = numel
        self.batch = batch
        self.seed = seed
        self._epoch = -1
        self._order = np.empty(0, np.int64)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in the data."""
        return self.numel // self.batch

    def indices(self, step: int) -> np.ndarray:
        """Example numbers of a step, ``(batch,)`` int64; any step, in any order."""
        epoch, at = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = permutation(self.numel, self.seed, epoch)
        return self._order[at * self.batch : (at + 1) * self.batch]


def generator(*numbers: int) -> torch.Generator:
    """A CPU generator seeded with :func:`mixed` of ``numbers``."""
    return torch.Generator().manual_seed(mixed(*numbers))


@contextmanager
def seeded(device: torch.device, *numbers: int) -> Iterator[None]:
    """torch's global generators (dropout's) seeded for the block, then put back.

    Args:
        device: Its generator is seeded along with the CPU's.
    """
    seed = mixed(*numbers)
    on_cuda = device.type == "cuda"
    cpu_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if on_cuda else None
    try:
        # torch.manual_seed and fork_rng ask every backend there is: ten times slower.
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(cpu_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)
