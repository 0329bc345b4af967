"""A teacher's logits of all training examples: asked for once, and kept.

That is honest only where an example is the same each time it is fetched.  A teacher has
to see the student's very crop, and the logits of another one teach less (Beyer et al.:
"Knowledge distillation: A good teacher is patient and consistent"); so data that are
augmented are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import sampling
from .data import Data, sha256
from .errors import TrainingError, UsageError
from .evaluate import blaming
from .stopping import Interrupted, Stop

#: Bytes that may be kept where the spec does not say how many.
DEFAULT_LIMIT = 4 << 30

_WHERE = "finetune.distill.cache"

# What the random numbers of a fetch are for; a step of training has other uses.
_CACHING = 6
#: By how much logits may change with the place of their example in a batch, relative.
_TOLERANCE = 0.05


class KnownLogits:
    """Logits by the number of their example.

    Args:
        values: ``(examples, rows, classes)`` float32, on the CPU; a classifier has one
            row an example, a language model one a position.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def of(self, indices: Tensor) -> Tensor:
        """Of some examples, ``(rows, classes)``, in their order."""
        return self.values[indices].flatten(0, 1)


def know(
    data: Data,
    ask: Callable[[Any], Tensor],
    *,
    batch_size: int,
    seed: int,
    device: torch.device,
    limit: int,
    stop: Stop,
) -> KnownLogits:
    """Ask a teacher about all examples, in their order: a function of the arguments, so
    a resumed run has the same logits.

    Args:
        ask: Batch → its logits ``(rows, classes)``, the rows of the first example
            first.
        batch_size: Examples to ask about at a time.
        limit: Bytes that all logits may take.
        stop: Asked before each batch.

    Raises:
        UsageError: The data are augmented, the logits are too large, or they are not an
            equal number of rows for each example, whatever it is in a batch with.
        TrainingError: The data or the teacher failed.
        Interrupted: ``stop`` said so.
    """
    values: Tensor | None = None
    for begin in range(0, len(data), batch_size):
        if code := stop():
            raise Interrupted("stopped while the teacher was asked", exit_code=code)
        indices = torch.arange(begin, min(begin + batch_size, len(data)))
        with blaming(_WHERE):
            found = _asked(data, indices, ask, seed, device)
            if values is None:
                backwards = _asked(data, indices.flip(0), ask, seed, device).flip(0)
                _check_order(found, backwards)
                values = _room(len(data), found, limit)
        if found.shape[1:] != values.shape[1:]:
            raise _uneven(
                f"{found.shape[1]} in one batch, {values.shape[1]} in another"
            )
        values[indices] = found
    if values is None:
        raise TrainingError("the training data are empty", where="train")
    return KnownLogits(values)


def _asked(
    data: Data,
    indices: Tensor,
    ask: Callable[[Any], Tensor],
    seed: int,
    device: torch.device,
) -> Tensor:
    """Logits of some examples, ``(examples, rows, classes)``."""
    batches = []
    for time in range(2):
        numbers = (seed, _CACHING, int(indices[0]), time)
        with sampling.seeded(device, *numbers):
            batches.append(data.batch(indices, sampling.generator(*numbers)))
    if sha256(batches[0]) != sha256(batches[1]):
        raise UsageError(
            "the training data are augmented: their examples are others each time, and"
            " logits of another crop would be learnt",
            where=_WHERE,
            hint="Set it to false, or switch the task's augmentation off",
        )
    logits = ask(batches[0]).float().cpu()
    rows = logits.reshape(-1, logits.shape[-1])
    if len(rows) % len(indices):
        raise _uneven(f"{len(rows)} for {len(indices)} examples")
    return rows.view(len(indices), -1, logits.shape[-1])


def _check_order(found: Tensor, backwards: Tensor) -> None:
    """Whether an example's logits are its own, wherever it is in a batch."""
    if found.shape == backwards.shape:
        change = (found - backwards).square().sum()
        if change <= _TOLERANCE**2 * found.square().sum():
            return
    raise UsageError(
        "an example's logits depend on what it is in a batch with",
        where=_WHERE,
        hint="Set it to false",
    )


def _room(examples: int, first: Tensor, limit: int) -> Tensor:
    shape = (examples, *first.shape[1:])
    nbytes = examples * first[0].numel() * first.element_size()
    if nbytes > limit:
        raise UsageError(
            f"the teacher's logits take {nbytes:,} bytes, more than the {limit:,} that"
            " they may",
            where=_WHERE,
            hint="Set it to a size that fits into memory, such as 8GiB, or to false",
        )
    return torch.empty(shape)


def _uneven(how: str) -> UsageError:
    return UsageError(
        f"the teacher's logits are not as many rows for each example: {how}",
        where=_WHERE,
        hint="Set it to false",
    )
