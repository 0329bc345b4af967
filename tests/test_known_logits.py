"""Logits that are asked for once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import Points, Still
from wpack.data import ItemData, TensorData
from wpack.errors import TrainingError, UsageError
from wpack.known_logits import KnownLogits, know
from wpack.stopping import Interrupted, never

DATA = TensorData(torch.arange(10.0), torch.arange(10))
WHERE = "finetune.distill.cache: "


def known(data: Any, ask: Callable[[Any], Tensor], **changes: Any) -> KnownLogits:
    """All logits, asked for four at a time."""
    arguments: dict[str, Any] = {
        "batch_size": 4,
        "seed": 3,
        "device": torch.device("cpu"),
        "limit": 1000,
        "stop": never,
    }
    return know(data, ask, **{**arguments, **changes})


def classify(batch: Any) -> Tensor:
    """Two classes."""
    return torch.stack([batch[0], -batch[0]], dim=1).double()


def test_of_classifiers() -> None:
    """A row an example, in any order, in float32."""
    found = known(DATA, classify)

    assert [[7.0, -7.0], [0.0, -0.0], [9.0, -9.0]] == found.of(
        torch.tensor([7, 0, 9])
    ).tolist()
    assert torch.float32 == found.values.dtype
    assert (10, 1, 2) == found.values.shape


@pytest.mark.parametrize("flat", [False, True])
def test_of_language_models(flat: bool) -> None:
    """A row a position, whether a batch has them in one dimension or two."""

    def ask(batch: Any) -> Tensor:
        positions = torch.arange(3.0)
        logits = batch[0][:, None, None] + positions[:, None] / 10 + torch.zeros(2)
        return logits.flatten(0, 1) if flat else logits

    found = known(DATA, ask).of(torch.tensor([5, 2]))

    expected = torch.tensor([5.0, 5.1, 5.2, 2.0, 2.1, 2.2])
    assert torch.equal(expected[:, None].expand(6, 2), found)


def test_each_example_is_asked_about_once() -> None:
    """In their order, in full batches but the last; the first of them twice, to see
    that the order does not matter."""
    asked: list[list[int]] = []

    def ask(batch: Any) -> Tensor:
        asked.append(batch[1].tolist())
        return classify(batch)

    known(DATA, ask)

    assert [[0, 1, 2, 3], [3, 2, 1, 0], [4, 5, 6, 7], [8, 9]] == asked


class Dataset:
    """A dataset with randomness of its own, torch's."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return index + torch.rand(()) / 100, index


def rarely(batch: tuple[Tensor, ...], generator: torch.Generator) -> Any:
    """An augmentation that changes a single example, and not every time."""
    points, labels = batch
    change = torch.rand((), generator=generator) < 0.5
    return points + change * (labels == 9), labels


@pytest.mark.parametrize(
    "data",
    [
        Points().data("train"),
        ItemData(Dataset()),
        TensorData(*DATA.tensors, transform=rarely),
    ],
)
def test_augmented_data(data: Any) -> None:
    """Never of another crop: data that are not the same each time are refused."""
    with pytest.raises(UsageError) as caught:
        known(data, lambda batch: torch.zeros(len(batch[1]), 2), seed=1)

    assert (
        f"{WHERE}the training data are augmented: their examples are others each time,"
        " and logits of another crop would be learnt. Set it to false, or switch the"
        " task's augmentation off"
    ) == str(caught.value)
    still = Still().data("train")
    known(still, lambda batch: torch.zeros(len(batch[1]), 2), seed=1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda batch: classify(batch).cumsum(0),
        lambda batch: torch.stack([batch[0], -batch[0]]).view(-1, 1),
    ],
)
def test_logits_that_depend_on_the_batch(ask: Callable[[Any], Tensor]) -> None:
    """What an example is in a batch with must not matter, nor may the rows of several
    examples be mixed."""
    with pytest.raises(UsageError) as caught:
        known(DATA, ask)

    assert (
        f"{WHERE}an example's logits depend on what it is in a batch with. Set it to"
        " false"
    ) == str(caught.value)


def test_rows_that_vary() -> None:
    """Examples of several lengths cannot be kept in one block."""
    said = "the teacher's logits are not as many rows for each example: "
    with pytest.raises(UsageError) as caught:
        known(DATA, lambda batch: torch.zeros(5, 2))
    assert f"{WHERE}{said}5 for 4 examples. Set it to false" == str(caught.value)

    def longer(batch: Any) -> Tensor:
        count = len(batch[0]) * (2 if batch[1][0] == 4 else 1)
        return torch.zeros(count, 2)

    with pytest.raises(UsageError) as caught:
        known(DATA, longer)
    assert f"{WHERE}{said}2 in one batch, 1 in another. Set it to false" == str(
        caught.value
    )


def test_logits_that_are_too_large() -> None:
    """They are refused after the first batch, before they are kept."""
    asked: list[int] = []

    def ask(batch: Any) -> Tensor:
        asked.append(len(batch[0]))
        return classify(batch)

    assert 80 == known(DATA, ask, limit=80).values.nbytes
    asked.clear()
    with pytest.raises(UsageError) as caught:
        known(DATA, ask, limit=79)

    assert [4, 4] == asked
    assert (
        f"{WHERE}the teacher's logits take 80 bytes, more than the 79 that they may."
        " Set it to a size that fits into memory, such as 8GiB, or to false"
    ) == str(caught.value)


def test_asking_can_be_stopped() -> None:
    """Before each batch."""
    answers = iter([0, 0, 143])
    with pytest.raises(Interrupted) as caught:
        known(DATA, classify, stop=lambda: next(answers))

    assert 143 == caught.value.exit_code


def test_teacher_that_fails() -> None:
    """What it raises is told in words."""

    def ask(batch: Any) -> Tensor:
        raise ValueError("too wide")

    with pytest.raises(TrainingError) as caught:
        known(DATA, ask)

    assert f"{WHERE}ValueError: too wide. --debug shows the traceback" == str(
        caught.value
    )


def test_without_data() -> None:
    """There is nothing to ask about."""
    with pytest.raises(TrainingError, match=r"^train: the training data are empty$"):
        known(TensorData(torch.empty(0)), classify)
