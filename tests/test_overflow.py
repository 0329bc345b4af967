"""Steps of float16 that are lost in a row."""

from __future__ import annotations

import math

import torch
from torch import nn

from wpack.overflow import Overflow


def run(gradients: str, every: int = 1) -> list[int]:
    """Steps lost, as told after each so many steps.

    Args:
        gradients: ``x`` for each step that overflows, ``.`` for one that does not.
    """
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    found, told = Overflow(scaler), []
    for step, kind in enumerate(gradients, 1):
        weight.grad = torch.tensor([math.inf if kind == "x" else 1.0])
        scaler.scale(torch.ones(1))
        scaler.step(optimizer)
        scaler.update()
        if step % every == 0:
            told.append(found.lost(step))
    return told


def test_lost_steps_are_counted() -> None:
    """From the first reading on; one that is not lost begins the count anew."""
    assert [0, 1, 2, 0, 0, 1] == run("xxx..x")


def test_read_now_and_then() -> None:
    """On a GPU; steps count if all of them since the last reading were lost."""
    assert [0, 3, 6, 0, 0] == run("xxxxxxxxxx.x...", every=3)


def test_other_precisions_lose_none() -> None:
    """There is no scale, and nothing to wait for."""
    assert 0 == Overflow(torch.amp.GradScaler("cpu", enabled=False)).lost(9)
