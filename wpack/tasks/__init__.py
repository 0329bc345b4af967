'''Tasks: what fine-tuning has to know about a network and its data.

A task is a class of your own.  The two methods below are all that a classifier needs;
everything else a task may say has a default, see :class:`Task`.

.. code-block:: python

    # rings.py: is a point of the plane inside the ring?
    import torch
    from torch import nn

    from wpack.tasks import Task, TensorData


    class Rings(Task):
        """Two classes, three splits; ``hidden`` can be set in the spec."""

        def __init__(self, hidden: int = 32) -> None:
            self.hidden = hidden

        def model(self) -> nn.Module:
            """The network; its parameters have the checkpoint's names."""
            return nn.Sequential(
                nn.Linear(2, self.hidden), nn.ReLU(), nn.Linear(self.hidden, 2)
            )

        def data(self, split: str) -> TensorData | None:
            """Examples of "train", "validation" or "test"; None: no such split."""
            examples, seed = {
                "train": (800, 0), "validation": (200, 1), "test": (200, 2)
            }[split]
            generator = torch.Generator().manual_seed(seed)
            points = torch.randn(examples, 2, generator=generator)
            radius = points.norm(dim=1)
            return TensorData(points, ((radius > 0.7) & (radius < 1.6)).long())

Name it in a spec as ``task: ./rings.py:Rings`` or, with options, as
``task: {name: ./rings.py:Rings, hidden: 64}``.  The files of this folder are tasks that
come with wpack, named by their file: ``task: {name: image-classification, ...}``.
'''

from __future__ import annotations

import importlib
import inspect
import pkgutil
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, bfloat16, float16, nn
from torch.nn import functional

from .. import references
from ..data import Data, ItemData, TensorData, as_data, converted, rows
from ..errors import TrainingError, UsageError
from ..windows import IGNORED

__all__ = [
    "SPLITS",
    "Data",
    "ItemData",
    "Task",
    "TensorData",
    "call_model",
    "make_task",
    "names",
    "split",
    "splits",
]

#: What a task may be asked for.
SPLITS = ("train", "validation", "test")


@runtime_checkable
class Task(Protocol):
    """A network, its data, its loss and its metrics.

    Derive from it: the defaults are a classifier's, whose batches are
    ``(inputs, targets)``, or dicts whose targets are ``labels``.

    Attributes:
        metric: The metric that decides which weights are best.
        lower_is_better: Names of metrics of which less is better.
        unit: What :meth:`count` counts, in the plural: ``images``, ``tokens``.
    """

    metric: str = "accuracy"
    unit: str = "samples"
    lower_is_better: Collection[str] = ("loss",)

    @abstractmethod
    def model(self) -> nn.Module:
        """A new network; its parameters and buffers have the checkpoint's names, its
        values do not matter."""

    def teacher(self) -> nn.Module | None:
        """A trained network to distil from, for specs with ``distill.teacher: task``;
        called like :meth:`model`, with outputs that :meth:`logits` understands.  It may
        be of another architecture."""
        return None

    @abstractmethod
    def data(self, split: str) -> Any:
        """The examples of ``"train"``, ``"validation"`` or ``"test"``.

        The best weights are chosen on ``validation``; ``test`` is only reported.  A
        task without the one or the other gives None for it.

        Returns:
            A :class:`~wpack.data.Data` (such as :class:`TensorData`), or any dataset
            with ``__len__`` and ``__getitem__``.
        """

    def inputs(self, batch: Any) -> Any:
        """What the model is called with: a tuple gives positional arguments, a dict
        named ones, anything else is the one argument.

        Of a batch that is a dict (or a ``BatchEncoding``) these are all its values but
        ``labels``, by name; of another its first.
        """
        if isinstance(batch, Mapping):
            return {name: batch[name] for name in batch if name != "labels"}
        return batch[0]

    def targets(self, batch: Any) -> Tensor:
        """Class numbers, ``(rows,)`` int64: a dict's ``labels``, or what comes
        second."""
        targets: Tensor = batch["labels" if isinstance(batch, Mapping) else 1]
        return targets

    def logits(self, outputs: Any, batch: Any) -> Tensor:
        """What the loss sees and what distillation compares with the teacher's:
        ``(rows, classes)``, a row for each of :meth:`targets`.  Rows of zeros,
        which padding may be given, are left out of distillation."""
        logits: Tensor = getattr(outputs, "logits", outputs)
        return logits

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """What training minimises, 0-d: the mean cross-entropy."""
        return functional.cross_entropy(
            self.logits(outputs, batch).float(),
            self.targets(batch),
            label_smoothing=label_smoothing,
        )

    def count(self, batch: Any) -> int:
        """How many of the :attr:`unit` a batch has: the speed that is shown is in it.
        Examples, unless overridden."""
        return rows(batch)

    def metrics(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """One value a row, ``(rows,)``, for each metric, or for the rows that count; a
        metric of a whole split is the mean over all of them.  Targets of -100 count
        neither here nor in the loss."""
        logits, targets = self.logits(outputs, batch).float(), self.targets(batch)
        counted = targets != IGNORED
        logits, targets = logits[counted], targets[counted]
        return {
            "accuracy": logits.argmax(-1) == targets,
            "loss": functional.cross_entropy(logits, targets, reduction="none"),
        }

    def derived(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """Metrics that follow from the means of a whole split, as a perplexity does
        from a loss; told after them, and good as :attr:`metric`, too.

        Args:
            means: Metric of :meth:`metrics` → its mean.
        """
        return {}


def call_model(model: Callable[..., Any], inputs: Any) -> Any:
    """Call a model, or what stands for one, with what :meth:`Task.inputs` gave: in
    float32 where that is in half precision, as models are then."""
    inputs = converted(inputs, _widened)
    if isinstance(inputs, tuple):
        return model(*inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(inputs)


def _widened(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (bfloat16, float16) else tensor


def loss_of(task: Task, label_smoothing: float) -> Callable[[Any, Any], Tensor]:
    """A task's loss, with label smoothing where that is asked for.

    Raises:
        UsageError: The task's loss does not know it.
    """
    if not label_smoothing:
        return task.loss
    if "label_smoothing" not in inspect.signature(task.loss).parameters:
        raise UsageError(
            "the task's loss takes no label_smoothing", where="finetune.label_smoothing"
        )
    return partial(task.loss, label_smoothing=label_smoothing)


def split(task: Task, name: str) -> Data | None:
    """One of a task's :data:`SPLITS`, ready to fetch batches from, or None.

    Raises:
        TrainingError: What the task gives is no data set.
    """
    found = task.data(name)
    return None if found is None else as_data(found, name)


def splits(task: Task) -> dict[str, Data]:
    """The :data:`SPLITS` that a task has, in that order.

    Raises:
        TrainingError: There are no training data, or something is no data set.
    """
    found = {name: split(task, name) for name in SPLITS}
    if found["train"] is None:
        raise TrainingError("the task has no training data", where="data('train')")
    return {name: data for name, data in found.items() if data is not None}


def names() -> list[str]:
    """The tasks that come with wpack: the files of this folder, ``_`` read ``-``."""
    files = (m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_")
    return sorted(name.replace("_", "-") for name in files)


def make_task(
    reference: str,
    options: Mapping[str, Any] | None = None,
    folder: Path | str = ".",
) -> Task:
    """Make the task that a spec or a command line names.

    Args:
        reference: ``module:attribute``, ``./file.py:attribute``, or one of
            :func:`names`.  The attribute is a :class:`Task`, or a class or function
            that makes one from the options.
        options: Keyword arguments for it.
        folder: Where relative files start: the spec's folder, or the current one.

    Raises:
        UsageError: Whatever is wrong with it, by name.
    """
    if ":" not in reference:
        found = _built_in(reference)
        options = {"folder": folder, **(options or {})}
    else:
        found = references.resolve(reference, folder)
    if isinstance(found, Task) and not isinstance(found, type):
        if options:
            raise UsageError(
                f"is a task already and takes no options, got {', '.join(options)}",
                where=reference,
                hint="Name its class to set them",
            )
        return found
    made: Task = references.call(reference, found, options or {}, Task)
    return made


def _built_in(name: str) -> Any:
    if name not in names():
        raise UsageError(
            "is no module:attribute, no ./file.py:attribute and no task of wpack's",
            where=f"task {name!r}",
            hint=f"There are: {', '.join(names())}",
        )
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    return module.task
