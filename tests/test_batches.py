"""What a process sees of a step."""

from __future__ import annotations

import pytest
import torch

from wpack.batches import Batches
from wpack.data import TensorData
from wpack.errors import UsageError
from wpack.processes import ALONE, Processes
from wpack.sampling import Sampler

CPU = torch.device("cpu")
DATA = TensorData(
    torch.arange(26.0),
    transform=lambda batch, generator: (
        # From both sources of random numbers that data may have.
        batch[0] + torch.rand(12, generator=generator) + torch.rand(12),
    ),
)


def seen(count: int, accumulate: int) -> list[float]:
    """What all processes see of the third step together, in order."""
    sampler = Sampler(26, 12, seed=1)
    shares = [Batches(sampler, Processes(r, count), accumulate) for r in range(count)]
    batches = [batch for share in shares for batch in share.of(2, DATA, CPU)]

    assert count * accumulate == len(batches)
    assert {12 // len(batches)} == {len(batch[0]) for batch in batches}
    return torch.cat([batch[0] for batch in batches]).tolist()


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_batch_is_shared(count: int, accumulate: int) -> None:
    """The same examples, augmented alike, whoever has which of them."""
    torch.manual_seed(count)

    assert seen(1, 1) == seen(count, accumulate)


@pytest.mark.parametrize(("count", "accumulate"), [(1, 5), (5, 1), (3, 8)])
def test_unequal_shares(count: int, accumulate: int) -> None:
    """The mean of means would be another mean."""
    shares = count * accumulate
    with pytest.raises(UsageError) as caught:
        Batches(Sampler(26, 12, 0), Processes(0, count), accumulate)

    assert (
        f"finetune.batch_size: 12 examples are not {shares} equal shares: {count}"
        f" processes, {accumulate} micro-batches each. Set it to a multiple of {shares}"
    ) == str(caught.value)


def test_scalars_alone() -> None:
    """One process with whole batches may have data that cannot be cut."""
    data = TensorData(torch.arange(4.0), transform=lambda batch, _: batch[0].sum())

    assert 6.0 == Batches(Sampler(4, 4, 0), ALONE).of(0, data, CPU)[0].item()
