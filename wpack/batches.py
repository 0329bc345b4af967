"""What a process sees of each step: its share of the batch, in micro-batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import sampling
from .data import Data, cut, part
from .errors import UsageError
from .processes import Processes
from .sampling import Sampler

# What the random numbers of a step are for; training has other uses.
_AUGMENTATION, _FETCHING = 1, 4


class Batches:
    """Shares of the batches of a run.

    What is drawn for a batch is a function of the seed and the step: it depends neither
    on the number of processes nor on that of the micro-batches.

    Args:
        sampler: Which examples a step sees, in all processes together.
        processes: Those that share them.
        accumulate: Micro-batches that a process takes its share in.

    Raises:
        UsageError: The shares would not be equal; the mean of their means, which
            training steps by, would not be the mean of all then.
    """

    def __init__(
        self, sampler: Sampler, processes: Processes, accumulate: int = 1
    ) -> None:
        shares = processes.count * accumulate
        if sampler.batch % shares:
            raise UsageError(
                f"{sampler.batch} examples are not {shares} equal shares:"
                f" {processes.count} processes, {accumulate} micro-batches each",
                where="finetune.batch_size",
                hint=f"Set it to a multiple of {shares}",
            )
        self.sampler = sampler
        self.processes = processes
        self.accumulate = accumulate

    def of(self, step: int, data: Data, device: torch.device) -> list[Any]:
        """This process's micro-batches of a step, on the CPU.

        Args:
            device: Its global generator is seeded for the fetching, as the CPU's is.

        Raises:
            TrainingError: As :func:`wpack.data.cut`.
        """
        sampler = self.sampler
        indices = torch.from_numpy(sampler.indices(step))
        generator = sampling.generator(sampler.seed, _AUGMENTATION, step)
        rows = self.processes.rows(len(indices))
        with sampling.seeded(device, sampler.seed, _FETCHING, step):
            share = part(data, indices, generator, rows)
        if self.accumulate == 1:
            return [share]
        count = rows.stop - rows.start
        size = count // self.accumulate
        return [cut(share, count, slice(a, a + size)) for a in range(0, count, size)]

    def numbers(self, step: int) -> list[Tensor]:
        """The numbers of the examples in each batch that :meth:`of` gives of a step,
        ``(examples,)`` int64."""
        indices = torch.from_numpy(self.sampler.indices(step))
        share = indices[self.processes.rows(len(indices))]
        size = len(share) // self.accumulate
        return [share[at : at + size] for at in range(0, len(share), size)]
