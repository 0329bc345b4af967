"""All of a training run that changes from step to step, and one step of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from . import sampling
from .averaging import RunningMean
from .batches import Batches
from .coded import Coded
from .data import Data
from .devices import Placement
from .errors import TrainingError
from .gradual import Gradual
from .optimizers import (
    load_state_tensors,
    make_optimizer,
    set_learning_rate,
    state_tensors,
    trained,
)
from .schedule import learning_rate
from .spec.recipe import FinetuneSpec
from .speed import quicken
from .states import prefixed, stripped
from .stopping import Stop
from .tasks import Task, call_model, loss_of
from .teaching import Answer, Teaching
from .tie import Tied

# What random numbers are for here; fetching a batch has other uses.
_DROPOUT = 2


class Training:
    """A student on its way.

    Attributes:
        step: Steps taken.
        best: State-dict name → tensor of the best weights so far, as they would be
            stored (what is coded: its bytes), on the CPU; empty before :meth:`keep`.
        rate: Learning rate of the last step taken.
        count: How many of the task's units that step had, in all processes.

    Args:
        student: On its device; trained in place.
        teacher: As :class:`~wpack.teaching.Teaching` has it; nothing is done to it
            without ``recipe.distill``.
        storage: State-dict name of the student → dtype it will be stored in.
        coded: What codecs store of the student.
        batches: What a step sees.  Several processes take each step together, and call
            :meth:`as_stored` and :meth:`state` together too.
        steps: Steps of the whole run.

    Raises:
        UsageError: The recipe asks for a teacher, hints, label smoothing or ties that
            fade in, and there is none, or the task's loss does not know it.
        TrainingError: Nothing in the student is trained.
    """

    def __init__(
        self,
        student: nn.Module,
        task: Task,
        recipe: FinetuneSpec,
        *,
        teacher: nn.Module | None,
        storage: Mapping[str, torch.dtype],
        coded: Coded,
        placement: Placement,
        batches: Batches,
        steps: int,
    ) -> None:
        self.student = student
        self.task = task
        self.recipe = recipe
        self.storage = storage
        self.coded = coded
        self.placement = placement
        self.batches = batches
        self.processes = batches.processes
        self.steps = steps
        self.step = 0
        self.rate = 0.0
        self.count = 0
        self.best: dict[str, Tensor] = {}
        self.parameters = list(trained(student).values())
        self.optimizer = make_optimizer(student, recipe.optimizer)
        self.mean = RunningMean(self.weights(), recipe.ema) if recipe.ema else None
        self.scaler = torch.amp.GradScaler(
            placement.device.type, enabled=placement.precision == "float16"
        )
        self._gradual = Gradual(student, recipe.gradual)
        self._task_loss = loss_of(task, recipe.label_smoothing)
        self._teaching = (
            Teaching(teacher, student, task, recipe.distill, placement)
            if recipe.distill
            else None
        )
        self._quickened = quicken(student, teacher, recipe, placement)

    def weights(self) -> dict[str, Tensor]:
        """State-dict name → tensor, not copied: pools once, kept tensors, buffers."""
        return {
            name: value
            for name, value in self.student.state_dict().items()
            if isinstance(value, Tensor)
        }

    def take_step(self, data: Data) -> Tensor:
        """One step of the optimiser; the loss before it, 0-d, on the device: the mean
        over all processes.

        The random numbers are a function of the seed and the step alone; dropout's, of
        the process as well.
        """
        recipe, step = self.recipe, self.step
        self.count = 0
        self.rate = learning_rate(
            step,
            self.steps,
            recipe.optimizer.lr,
            recipe.schedule.name,
            recipe.schedule.warmup,
        )
        batches = self.batches.of(step, data, self.placement.device)
        self.optimizer.zero_grad()
        own = [rank] if (rank := self.processes.rank) else []
        losses = []
        with (
            sampling.seeded(self.placement.device, recipe.seed, _DROPOUT, step, *own),
            self.coded.in_place(step, self.steps),
            self._gradual.at(step / self.steps),
        ):
            for batch, indices in zip(batches, self.batches.numbers(step), strict=True):
                loss = self._loss(self.placement.move(batch), indices) / len(batches)
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                losses.append(loss.detach())
        mean_loss = self._average(torch.stack(losses).sum())
        self.coded.refine_gradients()
        if recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(self.parameters, recipe.clip_norm)
        set_learning_rate(self.optimizer, self.rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.coded.hold()
        self.step += 1
        if self.mean:
            self.mean.update(self.weights(), self.step)
        return mean_loss

    def _average(self, loss: Tensor) -> Tensor:
        """The mean over all processes, of the gradients too: of all that the optimiser
        steps.  Once a step, whatever the number of micro-batches."""
        student = self.student
        pools = list(student.pools.parameters()) if isinstance(student, Tied) else []
        stepped = [p for g in self.optimizer.param_groups for p in g["params"]]
        kept = [p for p in stepped if not any(p is pool for pool in pools)]
        return self.processes.average_gradients(pools, kept, loss)

    def _level(self) -> None:
        """Batch-norm statistics, of the examples that each process has seen, become
        their mean over all processes."""
        buffers = dict(self.student.named_buffers())
        means = self.mean.tensors if self.mean else {}
        found = [*buffers.values(), *(means[name] for name in buffers if name in means)]
        self.processes.average([t for t in found if t.is_floating_point()])

    def _loss(self, batch: Any, indices: Tensor) -> Tensor:
        teaching, inputs = self._teaching, self.task.inputs(batch)
        self.count += self.task.count(batch) * self.processes.count
        taught = teaching.inputs(inputs) if teaching else None
        listening = teaching.listening() if teaching else nullcontext()
        with listening, self.placement.autocast():
            outputs = call_model(self.student, inputs)
            if teaching is None:
                return self._task_loss(outputs, batch)
            loss = None if teaching.is_alone else self._task_loss(outputs, batch)
            logits = self.task.logits(outputs, batch)
        answer = Answer(indices, batch, taught, logits, loss)
        return teaching.loss(answer, self.step / self.steps)

    def prepare(self, data: Data, stop: Stop) -> Iterator[str]:
        """Do what has to be done before the next step, telling of it;
        :class:`~wpack.stopping.Interrupted` where ``stop`` says so."""
        if self._teaching is not None:
            size, seed = self.recipe.batch_size, self.recipe.seed
            yield from self._teaching.prepare(data, size, seed, stop)

    def close(self) -> None:
        """Leave the student to others."""
        self._quickened.close()
        if self._teaching is not None:
            self._teaching.close()

    @contextmanager
    def as_stored(self) -> Iterator[dict[str, Tensor]]:
        """The student with the weights that a file of this moment would hold, for as
        long as the block lasts: the running mean where there is one, rounded to the
        dtypes of :attr:`storage` or encoded and decoded.  Gives what :attr:`best` is
        made of, not copied."""
        self._level()
        live = self.weights()
        source = self.mean.tensors if self.mean else live
        held = {
            name: value.to(self.storage.get(name, value.dtype)).to(value.dtype)
            for name, value in source.items()
            if name not in self.coded.names
        }
        held |= self.coded.encode(source, live)
        stored = self.coded.decode(held)
        changed = [name for name in live if stored[name] is not live[name]]
        saved = {name: live[name].clone() for name in changed}
        self.load({name: stored[name] for name in changed})
        try:
            yield held
        finally:
            self.load(saved)

    def keep(self, weights: Mapping[str, Tensor]) -> None:
        """Remember what :meth:`as_stored` gave as the best weights so far."""
        self.best = {name: w.detach().cpu().clone() for name, w in weights.items()}
        self.coded.keep()

    def settle(self) -> None:
        """Give the student the result for good: the best weights, or the last ones
        where none were kept."""
        self._gradual.end()
        if not self.best:
            with self.as_stored() as weights:
                self.keep(weights)
        self.load(self.coded.decode(self.best))

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights into the student, in place."""
        live = self.weights()
        for name, value in weights.items():
            live[name].copy_(value)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """File → name → tensor of all that the next steps depend on.

        Raises:
            TrainingError: A trained weight is NaN or infinite, and going on from it is
                hopeless.
        """
        self._level()
        for name, value in trained(self.student).items():
            if not value.isfinite().all():
                raise TrainingError(
                    f"{name} has weights that are NaN or infinite",
                    where=f"step {self.step}",
                    hint="Lower finetune.optimizer.lr, or set finetune.clip_norm",
                )
        training = {
            **prefixed("model", self.weights()),
            **prefixed("optimizer", state_tensors(self.optimizer, self.student)),
            **prefixed("mean", self.mean.tensors if self.mean else {}),
            **prefixed("coded", self.coded.state()),
        }
        return {"training": training, **({"best": self.best} if self.best else {})}

    def values(self) -> dict[str, Any]:
        """What else they depend on, as JSON values."""
        values = {"scaler": self.scaler.state_dict()}
        return {**values, "codecs": self.coded.sizes()} if self.coded else values

    def restore(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        values: Mapping[str, Any],
    ) -> None:
        """Go back to a :meth:`state`, and to the :meth:`values` of the same moment."""
        saved = tensors["training"]
        self.load(stripped("model", saved))
        load_state_tensors(self.optimizer, self.student, stripped("optimizer", saved))
        if self.mean and (mean := stripped("mean", saved)):
            for name, value in mean.items():
                self.mean.tensors[name].copy_(value)
        elif self.mean:  # asked for since then
            self.mean = RunningMean(self.weights(), self.mean.decay)
        self.best = dict(tensors.get("best", {}))
        sizes = values.get("codecs", {})
        self.coded.restore(stripped("coded", saved), self.best, sizes)
        if values["scaler"]:  # of float16
            self.scaler.load_state_dict(values["scaler"])
        self.step = step
