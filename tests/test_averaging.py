"""The running mean of weights."""

from __future__ import annotations

import pytest
import torch

from wpack.averaging import RunningMean, decay_at


@pytest.mark.parametrize(
    ("step", "expected"), [(1, 2 / 11), (8, 0.5), (80, 0.9), (81, 0.9), (5000, 0.9)]
)
def test_decay(step: int, expected: float) -> None:
    """The decay climbs to its value, so that a short run forgets its start too."""
    assert expected == pytest.approx(decay_at(step, 0.9))


def test_mean_by_hand() -> None:
    """Two updates of 11 and of 4: 0 → 9 → 9/4 + 3 = 5.25, with decays 2/11 and 3/12."""
    mean = RunningMean({"w": torch.zeros(1)}, 0.9)
    mean.update({"w": torch.full((1,), 11.0)}, 1)
    first = mean.tensors["w"].item()
    mean.update({"w": torch.full((1,), 4.0)}, 2)

    assert first == pytest.approx(9.0)
    assert mean.tensors["w"].item() == pytest.approx(5.25)


def test_integers_are_taken_as_they_are() -> None:
    """A counter has no mean."""
    mean = RunningMean({"n": torch.tensor(3)}, 0.99)
    mean.update({"n": torch.tensor(8)}, 1)

    assert torch.tensor(8) == mean.tensors["n"]


def test_the_start_is_a_copy() -> None:
    """Weights that go on changing do not change the mean."""
    weights = torch.ones(2)
    mean = RunningMean({"w": weights}, 0.5)
    weights.zero_()

    assert torch.equal(torch.ones(2), mean.tensors["w"])
