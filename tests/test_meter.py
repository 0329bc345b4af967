"""Losses and speed, with a clock of our own."""

from __future__ import annotations

import pytest
import torch

from wpack import meter
from wpack.events import Step
from wpack.meter import Meter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A list whose last entry is the time."""
    times = [100.0]
    monkeypatch.setattr(meter.time, "perf_counter", lambda: times[-1])
    return times


def test_each_step_on_a_cpu(clock: list[float]) -> None:
    """Speeds follow running means of what a step had and took."""
    found = Meter(steps=10, per_epoch=4, unit="tokens", device=torch.device("cpu"))
    clock.append(102.0)

    assert found.add(1, 0.1, torch.tensor(3.0), 8)
    assert [Step(1, 10, 0.25, 3.0, 0.1, 4.0, 18.0, "tokens")] == found.read()

    clock.append(107.0)
    found.restart()  # an evaluation
    clock.append(108.0)
    found.add(2, 0.2, torch.tensor(2.0), 18)
    (step,) = found.read()

    assert 9 / 1.9 == pytest.approx(step.per_second)
    assert 8 * 1.9 == pytest.approx(step.seconds_left)
    assert [] == found.read()


def test_several_steps_on_a_gpu(clock: list[float]) -> None:
    """Losses stay on the device until ten can be read together."""
    found = Meter(steps=20, per_epoch=20, unit="images", device=torch.device("cuda"))
    clock.append(105.0)
    full = [found.add(i, 0.0, torch.tensor(float(i)), i) for i in range(1, 11)]
    steps = found.read()

    assert [False] * 9 + [True] == full
    assert [float(i) for i in range(1, 11)] == [s.loss for s in steps]
    assert {55 / 5.0} == {s.per_second for s in steps}
