"""Training data: examples fetched a batch at a time, by their numbers.

One fetch a step, vectorised over the batch, in the process that trains: for data that
fit into memory nothing is faster.  Anything with ``__len__`` and ``__getitem__`` works
too, one example at a time.

What augmentation draws does not depend on how many processes share a batch: each has
the whole batch fetched, with the same random numbers, and takes its rows.  Fetching
from memory is cheap beside training on what was fetched; data for which it is not
have a method ``part``, see :class:`Data`, as those have that are fetched one by one.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from . import sampling
from .errors import TrainingError

#: Changes a fetched batch: ``transform(batch, generator) -> batch``.
Transform = Callable[[tuple[Tensor, ...], torch.Generator], Any]

_CPU = torch.device("cpu")


@runtime_checkable
class Data(Protocol):
    """Examples, numbered from 0.

    With a method ``part(indices, generator, rows)`` as well, a slice ``rows`` of a
    batch is fetched by it: what several processes share is not fetched whole by each.
    It has to give what these rows of ``batch(indices, generator)`` are, and to leave
    the generator in the same state whatever the rows.
    """

    def __len__(self) -> int:
        """How many examples there are."""

    def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
        """The examples with these numbers, as one batch: a tuple or dict of tensors.

        Where a batch is shared by processes or taken in micro-batches (more than one of
        either), every tensor in it but scalars has to have a row for each example, in
        their order.

        Args:
            indices: ``(batch,)`` int64, on the CPU.
            generator: All randomness (augmentation) must come from it or from torch's
                global generators, which are seeded for each step; a run resumes
                exactly then.
        """


@runtime_checkable
class _Partial(Protocol):
    """Data that fetch some rows of a batch without the others."""

    def part(self, indices: Tensor, generator: torch.Generator, rows: slice) -> Any:
        """See :class:`Data`."""


class TensorData:
    """Tensors in memory whose first dimension counts examples.

    Args:
        tensors: Each ``(examples, ...)``, usually inputs and targets.
        transform: Applied to each fetched batch, a tuple of ``(batch, ...)`` tensors.

    Raises:
        TrainingError: The tensors do not count the same number of examples.
    """

    def __init__(self, *tensors: Tensor, transform: Transform | None = None) -> None:
        counts = [len(tensor) for tensor in tensors]
        if len(set(counts)) != 1:
            raise TrainingError(
                f"the tensors of a data set must be equally long, got {counts}"
            )
        self.tensors = tensors
        self.transform = transform

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
        """See :meth:`Data.batch`."""
        fetched = tuple(tensor[indices] for tensor in self.tensors)
        return self.transform(fetched, generator) if self.transform else fetched

    def take(self, chosen: Tensor) -> TensorData:
        """Some of the examples, by their numbers: copies of them."""
        tensors = (tensor[chosen] for tensor in self.tensors)
        return TensorData(*tensors, transform=self.transform)


class ItemData:
    """A map-style dataset (``__len__`` and ``__getitem__``), collated by torch."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
        """See :meth:`Data.batch`; the dataset's own randomness must be torch's."""
        return self.part(indices, generator, slice(0, len(indices)))

    def part(self, indices: Tensor, generator: torch.Generator, rows: slice) -> Any:
        """Some rows of a batch; see :class:`Data`.  The random numbers of an example
        are a function of the generator and of its row, so the others need not be
        loaded."""
        seed = int(torch.randint(1 << 62, (), generator=generator))
        items = []
        for row in range(*rows.indices(len(indices))):
            with sampling.seeded(_CPU, seed, row):
                items.append(self.dataset[int(indices[row])])
        return torch.utils.data.default_collate(items)


def part(data: Data, indices: Tensor, generator: torch.Generator, rows: slice) -> Any:
    """Some rows of the batch that ``data.batch(indices, generator)`` is.

    Raises:
        TrainingError: As :func:`cut`.
    """
    if rows == slice(0, len(indices)):
        return data.batch(indices, generator)
    if isinstance(data, _Partial):
        return data.part(indices, generator, rows)
    return cut(data.batch(indices, generator), len(indices), rows)


def cut(batch: Any, count: int, rows: slice) -> Any:
    """Some rows of all tensors of a batch of ``count`` examples; scalars, and what is
    no tensor, go with every part.

    Raises:
        TrainingError: A tensor has another number of rows, or the batch is an object of
            its own kind.
    """

    def own(tensor: Tensor) -> Tensor:
        if tensor.ndim and len(tensor) != count:
            raise TrainingError(
                f"a tensor of shape {tuple(tensor.shape)} in a batch of {count}"
                " examples cannot be shared out",
                where="data",
                hint="Its first dimension must count examples; or train in one process,"
                " with finetune.accumulate: 1",
            )
        return tensor[rows] if tensor.ndim else tensor

    _refuse_other_kinds(batch)
    return converted(batch, own)


def _refuse_other_kinds(batch: Any) -> None:
    """Raise for what :func:`converted` passes on as it is though it is a batch, too."""
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, tuple | list):
        for value in batch:
            _refuse_other_kinds(value)
    elif hasattr(batch, "to") and not isinstance(batch, Tensor):
        raise TrainingError(
            f"what is a {type(batch).__name__} in a batch cannot be shared out",
            where="data",
            hint="Make it a tuple or a dict of tensors; or train in one process, with"
            " finetune.accumulate: 1",
        )


def as_data(found: Any, split: str) -> Data:
    """What a task gave for a split, as :class:`Data`.

    Raises:
        TrainingError: It has neither ``batch`` nor ``__getitem__``, or no length.
    """
    if isinstance(found, Data) and not _cuts_batches(found):
        return found
    if hasattr(found, "__len__") and hasattr(found, "__getitem__"):
        return ItemData(found)
    raise TrainingError(
        f"a {type(found).__name__} is no data set",
        where=f"data({split!r})",
        hint="It needs __len__, and batch or __getitem__",
    )


def _cuts_batches(found: Any) -> bool:
    """Whether its ``batch`` is another method: a ``datasets.Dataset`` has one that
    makes a data set of batches."""
    return "batch_size" in inspect.signature(found.batch).parameters


def rows(batch: Any) -> int:
    """Length of the first tensor in a batch: its examples, as a rule; 0 without one."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.ndim else 1
    if isinstance(batch, Mapping):
        batch = list(batch.values())
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        return next(filter(None, map(rows, batch)), 0)
    return 0


def fingerprint(data: Data, examples: int = 32) -> str:
    """SHA-256 over the number of examples and some of them, evenly spread: tells
    changed data, and changed options of its augmentation, from the same again."""
    count = len(data)
    digest = hashlib.sha256(str(count).encode())
    if count:
        indices = torch.arange(min(examples, count)) * count // min(examples, count)
        with sampling.seeded(_CPU, 0):
            _update(digest, data.batch(indices, torch.Generator().manual_seed(0)))
    return digest.hexdigest()


def sha256(batch: Any) -> str:
    """SHA-256 of all tensors in a batch, a state dict or the like, in hexadecimal."""
    digest = hashlib.sha256()
    _update(digest, batch)
    return digest.hexdigest()


def _update(digest: Any, batch: Any) -> None:
    """Add a batch's tensors, with their dtypes and shapes, to a digest."""
    if isinstance(batch, Tensor):
        digest.update(f"{batch.dtype}{tuple(batch.shape)}".encode())
        flat = batch.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    elif isinstance(batch, Mapping):
        for key in sorted(batch):
            digest.update(str(key).encode())
            _update(digest, batch[key])
    elif isinstance(batch, Sequence) and not isinstance(batch, str):
        for value in batch:
            _update(digest, value)
    elif hasattr(batch, "to"):  # a batch of one's own kind
        _update(digest, getattr(batch, "__dict__", str(batch)))
    else:
        digest.update(str(batch).encode())


def converted(batch: Any, convert: Callable[[Tensor], Any]) -> Any:
    """A batch with each of its tensors converted, in its own kind of tuples, lists and
    mappings (a ``BatchEncoding`` stays one)."""
    if isinstance(batch, Tensor):
        return convert(batch)
    if isinstance(batch, MutableMapping):
        made = copy.copy(batch)
        for key, value in batch.items():
            made[key] = converted(value, convert)
        return made
    if isinstance(batch, Mapping):
        return {key: converted(value, convert) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        values = [converted(value, convert) for value in batch]
        named = hasattr(batch, "_fields")  # a namedtuple takes them one by one
        return type(batch)(*values) if named else type(batch)(values)
    return batch
