"""Array code that numpy and torch run alike, and as fast as memory goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import TrainingError


def differentiable(
    xp: Any,
    make: Callable[[Any], Any],
    gradient: Callable[[Any, Any], Any],
    backing: Any,
) -> Any:
    """``make(backing)``, with a derivative written out.

    Autograd would find the same one from ``make``'s steps, at several times the passes
    over memory; it would not let ``make`` fill an array either.

    Args:
        make: ``(backing,)`` → any array.
        gradient: The backing weights, and the gradient of what was made of them → that
            of the backing weights.  Called with torch only.

    Raises:
        TrainingError: On the way back, where second derivatives are asked for.
    """
    if xp is np:
        return make(backing)
    return _function(xp).apply(make, gradient, backing)


@cache
def _function(torch: Any) -> Any:
    """The autograd function behind :func:`differentiable`.  torch takes seconds to
    import, so that no file of techniques does."""

    def forward(context: Any, make: Any, gradient: Any, backing: Any) -> Any:
        context.save_for_backward(backing)
        context.gradient = gradient
        return make(backing)

    def backward(context: Any, of_made: Any) -> tuple[Any, ...]:
        if torch.is_grad_enabled():
            raise TrainingError(
                "second derivatives with respect to pools are not supported",
                hint="Leave create_graph=True to gradients of inputs",
            )
        (backing,) = context.saved_tensors
        return None, None, context.gradient(backing, of_made)

    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type("Made", (torch.autograd.Function,), methods)


def empty(xp: Any, like: Any, numel: int) -> Any:
    """``(numel,)`` to be filled, of the dtype and on the device of ``like``."""
    return np.empty(numel, like.dtype) if xp is np else like.new_empty(numel)


class Rows(NamedTuple):
    """Rows of a table, or a stretch of one.

    Attributes:
        cells: Where they are among the cells that were asked for.
        rows: Which rows of the table.
        columns: Which columns, of each.
        shape: How many rows and columns.
    """

    cells: slice
    rows: slice
    columns: slice
    shape: tuple[int, int]


def in_rows(first: int, numel: int, width: int) -> Iterator[Rows]:
    """Cells ``first … first + numel - 1`` of a table, counted row by row: the end of a
    row, whole rows, the beginning of a row."""
    at = 0
    while at < numel:
        top, begin = divmod(first + at, width)
        count = 1 if begin else max((numel - at) // width, 1)
        end = min(width, begin + numel - at)
        cells = slice(at, at + count * (end - begin))
        shape = count, end - begin
        yield Rows(cells, slice(top, top + count), slice(begin, end), shape)
        at = cells.stop
