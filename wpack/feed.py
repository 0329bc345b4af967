"""Batches of training data that networks are only called with: nobody asks for labels
or gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from . import sampling
from .data import Data
from .devices import Placement
from .evaluate import blaming
from .stopping import Interrupted, Stop, never
from .tasks import Task, call_model

#: What the random numbers are for; each use of a run's seed has its own.
_CALIBRATION = 3


@dataclass(frozen=True)
class Feed:
    """Batches to pass through networks: the first that training with this seed sees.

    Attributes:
        data: The task's training data, as it augments them.
        batch_size: Examples a batch; fewer where there are not as many.
        stop: Asked before each batch.
        on_batch: Called after each batch, for progress.
    """

    task: Task
    data: Data
    batches: int
    batch_size: int
    seed: int
    placement: Placement
    stop: Stop = never
    on_batch: Callable[[], object] = lambda: None

    def run(self, network: nn.Module) -> None:
        """Call a network, on the placement's device, with every batch.

        The same batches and the same random numbers each time.

        Raises:
            TrainingError: The data are empty, or the task or the network failed.
            Interrupted: ``stop`` said so.
        """
        numel = len(self.data)
        sampler = sampling.Sampler(numel, min(self.batch_size, numel) or 1, self.seed)
        device = self.placement.device
        with torch.no_grad(), blaming("calibration"):
            for index in range(self.batches):
                if code := self.stop():
                    raise Interrupted("stopped during calibration", exit_code=code)
                numbers = self.seed, _CALIBRATION, index
                with sampling.seeded(device, *numbers):
                    indices = torch.from_numpy(sampler.indices(index))
                    fetched = self.data.batch(indices, sampling.generator(*numbers))
                    batch = self.placement.move(fetched)
                    with self.placement.autocast():
                        call_model(network, self.task.inputs(batch))
                self.on_batch()
