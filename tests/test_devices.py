"""Devices, precisions and moving batches."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch

from wpack.devices import Placement, place
from wpack.errors import UsageError

CPU = torch.device("cpu")


class Pair(NamedTuple):
    """A batch with named fields."""

    left: Any
    right: Any


class Encoding(dict[str, Any]):
    """A batch with a ``to`` of its own, as transformers' BatchEncoding."""

    def to(self, device: torch.device, non_blocking: bool) -> str:
        """Where it went."""
        return f"moved to {device}"


@pytest.mark.parametrize(
    ("precision", "expected"),
    [
        ("auto", torch.float32),
        ("float32", torch.float32),
        ("bfloat16", torch.bfloat16),
        ("float16", torch.float16),
    ],
)
def test_precision_on_a_cpu(precision: str, expected: torch.dtype) -> None:
    """Matrix products have the precision asked for; a CPU's own is float32."""
    placement = place("cpu", precision)
    with placement.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)

    assert CPU == placement.device
    assert expected == product.dtype


def test_automatic_device() -> None:
    """A device is found without being named."""
    found = place().device

    assert 0.0 == torch.zeros(1, device=found).item()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cpuu", "device 'cpuu': cannot be used: "),
        ("cuda:99", "device 'cuda:99': cannot be used: "),
    ],
)
def test_t10_no_such_device(name: str, expected: str) -> None:
    """A device that is not there is a mistake of the user's, told in one line."""
    with pytest.raises(UsageError) as caught:
        place(name)

    assert str(caught.value).startswith(expected)
    assert str(caught.value).endswith(". Try auto")
    assert "\n" not in str(caught.value)


def test_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes would train the same thing twice and write to one run."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError) as caught:
        place("cpu")

    assert (
        "torchrun: 2 processes were started, and this is work for one."
        " Start it without torchrun"
    ) == str(caught.value)


def test_channels_last() -> None:
    """Images, and nothing else, change their memory format; values stay."""
    images, rows = torch.rand(2, 3, 4, 4), torch.rand(2, 3)
    placement = Placement(CPU, channels_last=True)
    moved, left = placement.move((images, rows))

    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, moved)
    assert rows is left
    assert images is Placement(CPU).move(images)


def test_move() -> None:
    """Every tensor of a batch moves, and its containers stay what they are."""
    meta = Placement(torch.device("meta"))
    here = torch.ones(2)
    moved = meta.move({"a": here, "b": (here, [here]), "c": Pair(here, "text")})

    assert moved["a"].is_meta
    assert isinstance(moved["b"], tuple)
    assert moved["b"][1][0].is_meta
    assert isinstance(moved["c"], Pair)
    assert moved["c"].left.is_meta
    assert "text" == moved["c"].right
    assert "moved to meta" == meta.move(Encoding(a=here))
