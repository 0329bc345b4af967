"""Data sets: tensors, items and fingerprints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from wpack.data import (
    Data,
    ItemData,
    TensorData,
    as_data,
    cut,
    fingerprint,
    part,
    rows,
    sha256,
)
from wpack.errors import TrainingError

GENERATOR = torch.Generator()


class Items:
    """A map-style dataset of pairs."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.full((2,), float(index)), index


class Dicts:
    """Batches that are dicts, with something in them that is no tensor."""

    def __init__(self, key: str = "x", unit: str = "m") -> None:
        self.key, self.unit = key, unit

    def __len__(self) -> int:
        return 3

    def batch(self, indices: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """The numbers themselves."""
        return {self.key: [indices], "unit": self.unit}


def test_tensors() -> None:
    """Rows are fetched by number and then transformed."""
    data = TensorData(
        torch.arange(6.0).view(3, 2),
        torch.tensor([7, 8, 9]),
        transform=lambda batch, generator: (batch[0] + 1, batch[1]),
    )
    values, labels = data.batch(torch.tensor([2, 0]), GENERATOR)

    assert 3 == len(data)
    assert torch.equal(torch.tensor([[5.0, 6.0], [1.0, 2.0]]), values)
    assert torch.equal(torch.tensor([9, 7]), labels)


def test_tensors_of_unequal_length() -> None:
    """Inputs and targets must be as many."""
    with pytest.raises(TrainingError) as caught:
        TensorData(torch.zeros(3), torch.zeros(2))

    assert ("the tensors of a data set must be equally long, got [3, 2]") == str(
        caught.value
    )


def test_items() -> None:
    """A map-style dataset is collated by torch."""
    data = as_data(Items(), "train")
    values, labels = data.batch(torch.tensor([3, 1]), GENERATOR)

    assert isinstance(data, ItemData)
    assert 4 == len(data)
    assert torch.equal(torch.tensor([[3.0, 3.0], [1.0, 1.0]]), values)
    assert torch.equal(torch.tensor([3, 1]), labels)


def test_data_stay_as_they_are() -> None:
    """What can fetch batches is taken as it is."""
    data = Dicts()

    assert isinstance(data, Data)
    assert data is as_data(data, "train")


def test_no_data() -> None:
    """Anything else is refused, with what it would need."""
    with pytest.raises(TrainingError) as caught:
        as_data(iter([1]), "test")

    assert (
        "data('test'): a list_iterator is no data set."
        " It needs __len__, and batch or __getitem__"
    ) == str(caught.value)


def points(count: int = 5, shift: float = 0.0, scale: float = 1.0) -> TensorData:
    """Data of float32 and int64, shifted by a transform."""
    return TensorData(
        torch.arange(count) * scale,
        torch.arange(count),
        transform=lambda batch, generator: (batch[0] + shift, batch[1]),
    )


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (torch.zeros(3, 2), 3),
        ({"name": "ab", "x": (torch.zeros(4, 2), torch.zeros(5))}, 4),
        ([7, torch.zeros(2)], 2),
        (torch.tensor(1.0), 1),
        ("ab", 0),
        ((), 0),
    ],
)
def test_rows(batch: Any, expected: int) -> None:
    """A batch is as long as its first tensor, wherever that is."""
    assert expected == rows(batch)


def test_fingerprint_of_equal_data() -> None:
    """Equal data have equal fingerprints, empty ones too."""
    empty = TensorData(torch.zeros(0))

    assert fingerprint(points()) == fingerprint(points())
    assert fingerprint(Dicts()) == fingerprint(Dicts())
    assert fingerprint(empty) == fingerprint(empty)


@pytest.mark.parametrize(
    "changed",
    [points(6), points(shift=1.0), points(scale=2.0), TensorData(torch.arange(5))],
)
def test_fingerprint_of_changed_data(changed: TensorData) -> None:
    """More data, other data, other transforms: another fingerprint."""
    assert fingerprint(points()) != fingerprint(changed)


@pytest.mark.parametrize("changed", [Dicts(key="y"), Dicts(unit="km")])
def test_fingerprint_of_changed_dicts(changed: Dicts) -> None:
    """Keys count, and so do values that are no tensors."""
    assert fingerprint(Dicts()) != fingerprint(changed)


def test_fingerprint_looks_at_the_ends() -> None:
    """Of many examples the first and nearly the last are looked at."""
    first = torch.zeros(1000)
    second, third = first.clone(), first.clone()
    second[0] = 1.0
    third[968:] = 1.0

    prints = {fingerprint(TensorData(t)) for t in (first, second, third)}
    assert 3 == len(prints)


class Noise:
    """Items that are random, by torch's own generator."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Tensor:
        return index + torch.rand(2)


def test_part_of_items() -> None:
    """Rows fetched by themselves are those of the whole batch, and what else is drawn
    does not matter."""
    data, indices = ItemData(Noise()), torch.tensor([3, 1, 8, 1])
    whole = data.batch(indices, torch.Generator().manual_seed(5))
    torch.rand(3)
    generator = torch.Generator().manual_seed(5)
    some = part(data, indices, generator, slice(1, 3))
    after = torch.rand(1, generator=generator)

    assert torch.equal(whole[1:3], some)
    assert not torch.equal(whole[1], whole[3])
    generator.manual_seed(5)
    assert torch.equal(whole, part(data, indices, generator, slice(0, 4)))
    assert torch.equal(after, torch.rand(1, generator=generator))


def test_part_of_others() -> None:
    """Data without a method of their own for it are fetched whole and cut, so that
    augmentation is the same whoever has which rows."""
    data = TensorData(
        torch.arange(4.0),
        transform=lambda batch, generator: (
            batch[0] + torch.rand(len(batch[0]), generator=generator),
        ),
    )
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    indices = torch.tensor([3, 0, 1])
    (whole,) = data.batch(indices, generators[0])
    (some,) = part(data, indices, generators[1], slice(2, 3))

    assert torch.equal(whole[2:], some)


def test_cut() -> None:
    """Every tensor is cut but scalars; names and kinds stay."""
    rows, scalar = torch.arange(6).view(3, 2), torch.tensor(0.5)
    found = cut({"x": [rows, "text"], "share": scalar}, 3, slice(1, 3))

    assert torch.equal(rows[1:], found["x"][0])
    assert "text" == found["x"][1]
    assert scalar is found["share"]


def test_cut_of_something_else() -> None:
    """A tensor that does not count examples cannot be shared out."""
    with pytest.raises(TrainingError) as caught:
        cut((torch.zeros(3), torch.zeros(2, 5)), 3, slice(1, 3))

    assert (
        "data: a tensor of shape (2, 5) in a batch of 3 examples cannot be shared out."
        " Its first dimension must count examples; or train in one process, with"
        " finetune.accumulate: 1"
    ) == str(caught.value)


class Sent:
    """A batch of its own kind, which is moved as tensors are."""

    def __init__(self, points: Tensor) -> None:
        self.points = points

    def to(self, *_: Any, **__: Any) -> Sent:
        """Where it is."""
        return self


class Slotted:
    """Another kind, without attributes."""

    __slots__ = ()

    def to(self, *_: Any, **__: Any) -> Slotted:
        """Where it is."""
        return self

    def __str__(self) -> str:
        return "slotted"


class Sending(Items):
    """Items in such batches."""

    def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
        return Sent(torch.rand(len(indices)) + indices)


@pytest.mark.parametrize("found", [Sent(torch.zeros(3)), Slotted()])
def test_cut_of_a_kind_of_its_own(found: Any) -> None:
    """It would go whole with every part, on its own or inside another."""
    with pytest.raises(TrainingError, match=r"^data: what is a S\w+ in a batch cannot"):
        cut((torch.zeros(3), {"a": [found]}), 3, slice(1, 3))


def test_fingerprint_of_a_kind_of_its_own() -> None:
    """It is of what the batch holds, not of where it lies; and what data draw from
    torch's global generator is the same each time, and leaves that alone."""
    before = torch.get_rng_state()
    one, other = fingerprint(Sending()), fingerprint(Sending())

    assert one == other
    assert torch.equal(before, torch.get_rng_state())
    assert sha256(Slotted()) == sha256("slotted") != sha256(Sent(torch.zeros(3)))


class Arrow(Items):
    """Items with a ``batch`` as ``datasets.Dataset`` has it."""

    def batch(self, batch_size: int, drop_last_batch: bool = False) -> Any:
        """A data set of batches."""
        pytest.fail("asked for batches of batches")


def test_data_with_another_batch() -> None:
    """They are fetched one by one."""
    data = as_data(Arrow(), "train")

    assert isinstance(data, ItemData)
