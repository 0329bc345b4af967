"""Batches for calibration: the same each time, and stopped between two."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Points, network
from wpack.devices import place
from wpack.errors import TrainingError
from wpack.feed import Feed
from wpack.stopping import Interrupted
from wpack.tasks import Task


def feed(task: Task, **options: Any) -> Feed:
    """Two batches of three, unless told otherwise."""
    given = {"batches": 2, "batch_size": 3, "seed": 5, **options}
    return Feed(task, task.data("train"), placement=place("cpu", "float32"), **given)


def test_stopped() -> None:
    """Between two batches, with the status that was asked for."""
    with pytest.raises(Interrupted) as caught:
        feed(Points(), stop=iter([0, 143]).__next__).run(network())

    assert (143, "stopped during calibration") == (
        caught.value.exit_code,
        str(caught.value),
    )


def test_feed_repeats_itself() -> None:
    """The same batches, augmentation and noise each time, whatever was drawn before;
    fewer examples than a batch are one batch."""
    seen: list[Tensor] = []

    class Keeping(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            seen.append(inputs + torch.rand(1))
            return inputs

    count: list[None] = []
    task = Points(train=5)
    for _ in range(2):
        feed(task, batch_size=128, on_batch=lambda: count.append(None)).run(Keeping())
        torch.rand(1)

    assert [(5, 2)] * 4 == [tuple(batch.shape) for batch in seen]
    assert 4 == len(count)
    assert seen[0].equal(seen[2])
    assert seen[1].equal(seen[3])
    assert not seen[0].equal(seen[1])


def test_no_training_data() -> None:
    """There is nothing to pass."""
    with pytest.raises(TrainingError) as caught:
        feed(Points(train=0)).run(network())

    assert "train: the training data are empty" == str(caught.value)
