"""A teacher, and all that a student learns from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from . import hints
from .data import Data, converted
from .devices import Placement
from .distill import blend, divergence, relative_error
from .errors import TrainingError, UsageError
from .halving import Halving
from .hints import Outputs
from .known_logits import DEFAULT_LIMIT, KnownLogits, know
from .schedule import SHAPES
from .spec import DistillSpec, HintsSpec
from .stopping import Stop
from .student import widen
from .tasks import Task, call_model
from .tie import Tied


@dataclass(frozen=True)
class Answer:
    """What a student made of a batch.

    Attributes:
        indices: Numbers of the batch's examples, ``(examples,)`` int64, on the CPU.
        inputs: What the teacher is to be called with: :meth:`Teaching.inputs`.
        logits: ``(rows, classes)``, as the task has them.
        loss: The task's, 0-d; None where :attr:`Teaching.is_alone`.
    """

    indices: Tensor
    batch: Any
    inputs: Any
    logits: Tensor
    loss: Tensor | None


class Teaching:
    """A teacher that sees the batches of a student: the very same crops, once each.

    Args:
        teacher: Changed in place: it is moved to the device, put in ``eval`` mode,
            asked for no gradients and, once it has been called, halved
            (:mod:`wpack.halving`) where its precision is.
        student: Listened to where there are hints, until :meth:`close`; its names of
            modules are those of the wrapped module where it is tied.

    Raises:
        UsageError: There is no teacher, or a hint is about no module of both.
    """

    def __init__(
        self,
        teacher: nn.Module | None,
        student: nn.Module,
        task: Task,
        spec: DistillSpec,
        placement: Placement,
    ) -> None:
        if teacher is None:
            raise UsageError(
                "there is no teacher to distil from",
                where="finetune.distill",
                hint="Set it to null to learn from labels only",
            )
        self.task = task
        self.spec = spec
        self.placement = placement
        if spec.precision != "auto":
            self.placement = replace(placement, precision=spec.precision)
        self.teacher = teacher.to(placement.device).eval().requires_grad_(False)
        self._halving: Halving | None = None
        dtype = getattr(torch, self.placement.precision)
        widen(teacher, but=dtype)
        if dtype != torch.float32:
            self._halving = Halving(teacher, dtype, placement.device.type)
        self._hints = _Hints(spec.hints, student, teacher) if spec.hints else None
        self._known: KnownLogits | None = None

    def prepare(
        self, data: Data, batch_size: int, seed: int, stop: Stop
    ) -> Iterator[str]:
        """Ask the teacher once about all that it will be asked, where the spec has a
        cache for that; tells of it.

        Raises:
            UsageError, TrainingError, Interrupted: As
                :func:`wpack.known_logits.know`.
        """
        if not self.spec.cache:
            return
        yield f"the teacher is asked about {len(data):,} training examples, once"

        def ask(batch: Any) -> Tensor:
            moved = self.placement.move(batch)
            return self._ask(self.task.inputs(moved), moved)

        self._known = know(
            data,
            ask,
            batch_size=batch_size,
            seed=seed,
            device=self.placement.device,
            limit=DEFAULT_LIMIT if self.spec.cache is True else self.spec.cache,
            stop=stop,
        )
        self.teacher.cpu()
        nbytes = self._known.values.nbytes
        yield f"the teacher's logits are kept in memory, {nbytes:,} bytes"

    @property
    def is_alone(self) -> bool:
        """Whether nothing is learnt from the task's own loss, which labels may lack."""
        return self.spec.weight == 1

    def inputs(self, inputs: Any) -> Any:
        """What the teacher is to be called with after a student was called with these,
        and may have written to them."""
        return converted(inputs, Tensor.clone) if self._known is None else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The block in which a student is called."""
        if self._hints is None:
            yield
            return
        with self._hints.student.listening():
            yield

    def loss(self, answer: Answer, progress: float) -> Tensor:
        """``(1 - w)·task + w·T²·KL``, and the hints' weight times their mean; 0-d.

        Args:
            answer: Of the student, :meth:`listening`.
            progress: Share of the run's steps that were taken.

        Raises:
            TrainingError: Student and teacher cannot be compared.
        """
        logits = answer.logits
        if self._known is None:
            taught = self._ask(answer.inputs, answer.batch)
        else:
            taught = self._known.of(answer.indices).to(logits.device)
        if logits.shape != taught.shape:
            raise TrainingError(
                f"the student's logits are {tuple(logits.shape)}, the teacher's"
                f" {tuple(taught.shape)}",
                where="finetune.distill",
            )
        if logits.shape[-1] < 2 and self.spec.weight > 0:
            raise TrainingError(
                f"logits of shape {tuple(logits.shape)} have nothing to teach: of one"
                " class, all are sure",
                where="finetune.distill",
                hint="Set it to null, or its weight to 0 where there are hints",
            )
        distance = divergence(logits, taught, self.spec.temperature)
        loss = distance
        if answer.loss is not None:
            loss = blend(answer.loss, distance, self.spec.weight)
        return loss + self._hints.loss(progress) if self._hints else loss

    @torch.no_grad()
    def _ask(self, inputs: Any, batch: Any) -> Tensor:
        """The teacher's logits of a batch on the device."""
        watching = self._halving.watching() if self._halving else nullcontext()
        with self._listening_to_teacher(), watching, self.placement.autocast():
            with _blaming_precision(self.placement.precision):
                outputs = call_model(self.teacher, inputs)
            return self.task.logits(outputs, batch)

    def close(self) -> None:
        """Leave the student as it was found."""
        if self._hints is not None:
            self._hints.close()

    @contextmanager
    def _listening_to_teacher(self) -> Iterator[None]:
        if self._hints is None:
            yield
            return
        with self._hints.teacher.listening():
            yield


class _Hints:
    """The outputs of the same modules of both."""

    def __init__(self, spec: HintsSpec, student: nn.Module, teacher: nn.Module) -> None:
        own = student.module if isinstance(student, Tied) else student
        found = hints.modules(own, spec.modules)
        known = dict(teacher.named_modules())
        for name in found:
            if name not in known:
                raise UsageError(
                    "the teacher has no such module",
                    where=f"{hints.WHERE}: module {name!r}",
                )
        self.spec = spec
        self.student = Outputs(found)
        self.teacher = Outputs({name: known[name] for name in found})

    def loss(self, progress: float) -> Tensor:
        """The mean of the outputs' relative errors, by its weight; 0-d."""
        errors = [
            relative_error(*pair) for pair in hints.pairs(self.student, self.teacher)
        ]
        self.student.forget()
        self.teacher.forget()
        share = SHAPES["cosine"](progress) if self.spec.anneal else 1.0
        return self.spec.weight * share * torch.stack(errors).mean()

    def close(self) -> None:
        self.student.close()
        self.teacher.close()


@contextmanager
def _blaming_precision(precision: str) -> Iterator[None]:
    """Say what helps where a teacher's own code minds the dtype of its weights."""
    try:
        yield
    except RuntimeError as error:
        if precision == "float32" or not re.search("dtype|BFloat16|Half", str(error)):
            raise
        raise TrainingError(
            f"the teacher cannot be called in {precision}: {error}",
            where="finetune.distill",
            hint="Set finetune.distill.precision to float32",
        ) from error
