"""What is read after others may have written to it."""

from __future__ import annotations

import pytest
import torch

from wpack.errors import TrainingError
from wpack.untouched import Untouched


def test_copied_while_it_is_written_to() -> None:
    """Each time: what was kept is what it was."""
    found = Untouched(TrainingError)
    for _ in range(3):
        tensor = torch.zeros(3)
        kept = found.keep(tensor)
        tensor.add_(1)
        found.settle()

        assert [0, 0, 0] == kept.tolist()


def test_not_copied_where_nobody_writes() -> None:
    """But the first time; and somebody who begins to is told of."""
    found, tensor = Untouched(TrainingError), torch.zeros(3)
    assert found.keep(tensor) is not tensor
    found.settle()
    found.settle()
    assert found.keep(tensor) is tensor
    tensor.add_(1)
    with pytest.raises(TrainingError, match="is written to in place, though not at"):
        found.settle()


def test_nothing_kept_says_nothing() -> None:
    """A place that was not come by is copied as if it were new."""
    found, tensor = Untouched(TrainingError), torch.zeros(3)
    found.settle()

    assert found.keep(tensor) is not tensor


@torch.inference_mode()
def test_tensors_without_versions() -> None:
    """What is made in inference mode is copied each time: nobody counts its changes."""
    found = Untouched(TrainingError)
    for _ in range(2):
        tensor = torch.zeros(3)
        kept = found.keep(tensor)
        found.settle()

        assert kept is not tensor
        assert torch.equal(kept, tensor)
