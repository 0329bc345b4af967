"""Losses and speed of the steps taken, read from the device a few at a time."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from .events import Step

#: Steps whose losses are read together on a GPU, which would otherwise wait each time.
READ_EVERY = 10
#: Share of the newest reading in the running mean of seconds a step.
_NEWEST = 0.1


class Meter:
    """Makes :class:`~wpack.events.Step` out of losses that are still on the device.

    Args:
        steps: Steps of the whole run.
        per_epoch: Steps of an epoch.
        unit: What is counted, in the plural: ``images``, ``tokens``.
        device: Where the losses are.
    """

    def __init__(
        self, steps: int, per_epoch: int, unit: str, device: torch.device
    ) -> None:
        self.steps = steps
        self.per_epoch = per_epoch
        self.unit = unit
        self._most = 1 if device.type == "cpu" else READ_EVERY
        self._pending: list[tuple[int, float, Tensor]] = []
        self._count = 0
        self._pace = self._units = 0.0
        self._mark = time.perf_counter()

    def restart(self) -> None:
        """Begin timing here: what came before was no training."""
        self._mark = time.perf_counter()

    def add(self, step: int, rate: float, loss: Tensor, count: int) -> bool:
        """Take in a step of ``count`` units; whether it is time to :meth:`read`."""
        self._pending.append((step, rate, loss))
        self._count += count
        return len(self._pending) >= self._most

    def read(self) -> list[Step]:
        """The steps since the last reading; waits for the device."""
        if not self._pending:
            return []
        losses = torch.stack([loss for _, _, loss in self._pending]).tolist()
        now = time.perf_counter()
        pace, units = (now - self._mark) / len(losses), self._count / len(losses)
        if self._pace:
            pace = (1 - _NEWEST) * self._pace + _NEWEST * pace
            units = (1 - _NEWEST) * self._units + _NEWEST * units
        self._pace, self._units = pace, units
        self._mark, self._count = now, 0
        read, self._pending = self._pending, []
        return [
            Step(
                step=step,
                steps=self.steps,
                epoch=step / self.per_epoch,
                loss=loss,
                rate=rate,
                per_second=units / pace,
                seconds_left=(self.steps - step) * pace,
                unit=self.unit,
            )
            for (step, rate, _), loss in zip(read, losses, strict=True)
        ]
