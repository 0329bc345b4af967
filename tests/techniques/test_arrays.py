"""The array code that techniques share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from wpack.errors import TrainingError
from wpack.techniques._arrays import differentiable, in_rows

sizes = st.integers(0, 60)


@given(first=sizes, numel=sizes, width=st.integers(1, 20))
def test_rows_are_cells_in_order(first: int, numel: int, width: int) -> None:
    """Read row by row, they are the cells asked for, each once; whole rows come
    together."""
    table = np.arange(200 * width).reshape(-1, width)
    read = np.full(numel, -1)
    found = list(in_rows(first, numel, width))
    for cells, rows, columns, shape in found:
        assert table[rows, columns].shape == shape

        read[cells] = table[rows, columns].reshape(-1)

    assert list(range(first, first + numel)) == read.tolist()
    assert len(found) <= 3


def square(b: Any) -> Any:
    """What is made."""
    return b * b


def slope(b: Any, of_made: Any) -> Any:
    """Its derivative."""
    return 2 * b * of_made


def test_a_derivative_of_its_own() -> None:
    """torch takes the one that is given; numpy needs none."""
    read = torch.tensor([1.0, 3.0], requires_grad=True)
    differentiable(torch, square, slope, read).sum().backward()

    assert read.grad is not None
    assert [2.0, 6.0] == read.grad.tolist()
    assert [1.0, 9.0] == differentiable(np, square, slope, np.array([1, 3.0])).tolist()


def test_second_derivatives_are_refused() -> None:
    """Rather than left out of a sum that has others."""
    read = torch.tensor([1.0, 3.0], requires_grad=True)
    made = differentiable(torch, square, slope, read)

    with pytest.raises(TrainingError) as error:
        torch.autograd.grad(made.sum(), read, create_graph=True)
    assert str(error.value) == (
        "second derivatives with respect to pools are not supported. Leave"
        " create_graph=True to gradients of inputs"
    )
