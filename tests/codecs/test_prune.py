"""``prune``: which weights go, and when."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from wpack.codecs.prune import Prune


def test_the_smallest_go() -> None:
    """Whatever their sign; of equal ones, the later."""
    values = np.array([0.1, -5, 2, -0.2, 2, 2], "<f4")

    assert [0, 1, 1, 0, 1, 0] == Prune(0.5).select(values).astype(int).tolist()


def test_the_cheapest_go() -> None:
    """F · w²: 4 · 1 and 1 · 9 go before 1 · 16 and 100 · 0.25."""
    values = np.array([1, -3, 4, 0.5], "<f4")
    fisher = np.array([4, 1, 1, 100], "<f8")
    found = Prune(0.5, by="fisher").select(values, fisher)
    theirs = Prune(0.5, by="fisher").select(
        torch.from_numpy(values), torch.from_numpy(fisher)
    )

    assert [False, False, True, True] == found.tolist() == theirs.tolist()
    assert [False, True, True, False] == Prune(0.5).select(values, fisher).tolist()


def test_fisher_information_is_needed() -> None:
    """The message says how to get it."""
    message = (
        "by: fisher needs the weights' Fisher information, which is measured on a task:"
        " use finetune, or by: magnitude"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Prune(by="fisher").select(np.ones(3))


@pytest.mark.parametrize(
    ("share", "numel", "survivors"),
    [
        (0.9, 10, 1),
        (0.9, 3, 1),
        (0.29, 100, 71),
        (0.7, 10, 3),
        (0.0, 5, 5),
        (0.9, 0, 0),
    ],
)
def test_survivors(share: float, numel: int, survivors: int) -> None:
    """A share of 0.29 is 29 of 100, though no binary fraction is."""
    assert survivors == Prune(share).survivors(numel)


@pytest.mark.parametrize(
    ("progress", "share"), [(0, 0), (0.125, 0.4625), (0.25, 0.7), (0.5, 0.8), (1, 0.8)]
)
def test_the_ramp(progress: float, share: float) -> None:
    """Cubic: 1 − (1 − t)³ is 37/64 of the share at a quarter, 7/8 at a half."""
    found = Prune(0.8).during(progress)

    assert pytest.approx(share) == found.share
    assert (Prune(0.8) == found) == (progress >= 0.5)


def test_no_ramp() -> None:
    """Then all goes at once."""
    assert Prune(ramp=0.0) == Prune(ramp=0.0).during(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"share": 1.0}, "share must be from 0 up to, not including, 1, got 1.0"),
        ({"share": -0.1}, "share must be from 0 up to, not including, 1, got -0.1"),
        (
            {"share": float("nan")},
            "share must be from 0 up to, not including, 1, got nan",
        ),
        ({"by": "size"}, "by must be magnitude or fisher, got 'size'"),
        ({"ramp": 1.5}, "ramp must be from 0 to 1, got 1.5"),
    ],
)
def test_fields(fields: dict, message: str) -> None:
    """Out of range."""
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Prune(**fields)
