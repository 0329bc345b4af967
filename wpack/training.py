"""All of a training run that changes from step to step, and one step of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from . import sampling
from .averaging import RunningMean
from .coded import Coded
from .data import Data
from .devices import Placement
from .errors import TrainingError, UsageError
from .optimizers import (
    load_state_tensors,
    make_optimizer,
    set_learning_rate,
    state_tensors,
    trained,
)
from .schedule import learning_rate
from .spec.recipe import FinetuneSpec
from .tasks import Task, call_model
from .teaching import Answer, Teaching
from .tie import Tied

# What the random numbers of a step are for; each use has its own.
_AUGMENTATION, _DROPOUT = 1, 2


class Training:
    """A student on its way.

    Attributes:
        step: Steps taken.
        best: State-dict name → tensor of the best weights so far, as they would be
            stored (what is coded: its bytes), on the CPU; empty before :meth:`keep`.
        rate: Learning rate of the last step taken.

    Args:
        student: On its device; trained in place.
        teacher: As :class:`~wpack.teaching.Teaching` has it; nothing is done to it
            without ``recipe.distill``.
        storage: State-dict name of the student → dtype it will be stored in.
        coded: What codecs store of the student.
        sampler: Which examples a step sees.
        steps: Steps of the whole run.

    Raises:
        UsageError: The recipe asks for a teacher, hints or label smoothing, and there
            is none, or the task's loss does not know it.
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
        sampler: sampling.Sampler,
        steps: int,
    ) -> None:
        self.student = student
        self.task = task
        self.recipe = recipe
        self.storage = storage
        self.coded = coded
        self.placement = placement
        self.sampler = sampler
        self.steps = steps
        self.step = 0
        self.rate = 0.0
        self.best: dict[str, Tensor] = {}
        self.parameters = list(trained(student).values())
        self.optimizer = make_optimizer(student, recipe.optimizer)
        self.mean = RunningMean(self.weights(), recipe.ema) if recipe.ema else None
        self.scaler = torch.amp.GradScaler(
            placement.device.type, enabled=placement.precision == "float16"
        )
        self._task_loss = _smoothed(task, recipe.label_smoothing)
        self._teaching = (
            Teaching(teacher, student, task, recipe.distill, placement)
            if recipe.distill
            else None
        )

    def weights(self) -> dict[str, Tensor]:
        """State-dict name → tensor, not copied: pools once, kept tensors, buffers."""
        return {
            name: value
            for name, value in self.student.state_dict().items()
            if isinstance(value, Tensor)
        }

    def take_step(self, data: Data) -> Tensor:
        """One step of the optimiser; the loss before it, 0-d, on the device.

        The random numbers are a function of the seed and the step alone.
        """
        recipe, step = self.recipe, self.step
        indices = torch.from_numpy(self.sampler.indices(step))
        self.rate = learning_rate(
            step,
            self.steps,
            recipe.optimizer.lr,
            recipe.schedule.name,
            recipe.schedule.warmup,
        )
        with sampling.seeded(self.placement.device, recipe.seed, _DROPOUT, step):
            generator = sampling.generator(recipe.seed, _AUGMENTATION, step)
            batch = self.placement.move(data.batch(indices, generator))
            with self.coded.in_place(step, self.steps):
                loss = self._loss(batch)
                self.optimizer.zero_grad()
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
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
        return loss.detach()

    def _loss(self, batch: Any) -> Tensor:
        teaching, inputs = self._teaching, self.task.inputs(batch)
        listening = teaching.listening() if teaching else nullcontext()
        with listening, self.placement.autocast():
            outputs = call_model(self.student, inputs)
            loss = self._task_loss(outputs, batch)
        if teaching is None:
            return loss
        answer = Answer(batch, inputs, outputs, loss)
        return teaching.loss(answer, self.step / self.steps)

    def close(self) -> None:
        """Leave the student to others."""
        if self._teaching is not None:
            self._teaching.close()

    @contextmanager
    def as_stored(self) -> Iterator[dict[str, Tensor]]:
        """The student with the weights that a file of this moment would hold, for as
        long as the block lasts: the running mean where there is one, rounded to the
        dtypes of :attr:`storage` or encoded and decoded.  Gives what :attr:`best` is
        made of, not copied."""
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
        for name, value in trained(self.student).items():
            if not value.isfinite().all():
                raise TrainingError(
                    f"{name} has weights that are NaN or infinite",
                    where=f"step {self.step}",
                    hint="Lower finetune.optimizer.lr, or set finetune.clip_norm",
                )
        training = {
            **_prefixed("model", self.weights()),
            **_prefixed("optimizer", state_tensors(self.optimizer, self.student)),
            **_prefixed("mean", self.mean.tensors if self.mean else {}),
            **_prefixed("coded", self.coded.state()),
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
        self.load(_stripped("model", saved))
        load_state_tensors(self.optimizer, self.student, _stripped("optimizer", saved))
        if self.mean:
            for name, value in _stripped("mean", saved).items():
                self.mean.tensors[name].copy_(value)
        self.best = dict(tensors.get("best", {}))
        sizes = values.get("codecs", {})
        self.coded.restore(_stripped("coded", saved), self.best, sizes)
        self.scaler.load_state_dict(values["scaler"])
        self.step = step


def _smoothed(task: Task, share: float) -> Callable[[Any, Any], Tensor]:
    """The task's loss, with label smoothing where that is asked for."""
    if not share:
        return task.loss
    if "label_smoothing" not in inspect.signature(task.loss).parameters:
        raise UsageError(
            "the task's loss takes no label_smoothing", where="finetune.label_smoothing"
        )
    return partial(task.loss, label_smoothing=share)


def _prefixed(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{group}/{name}": tensor for name, tensor in tensors.items()}


def _stripped(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{group}/"
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def storage_dtypes(student: nn.Module) -> dict[str, torch.dtype]:
    """The dtypes that a tied student's plan stores it in, by state-dict name; nothing
    for another module, whose weights are stored as they are."""
    if not isinstance(student, Tied):
        return {}
    plan = student.plan
    pools = (f"pools.{name}" for name, _ in student.pools.named_parameters())
    dtypes = dict(zip(pools, (pool.dtype for pool in plan.pools), strict=True))
    dtypes |= {f"module.{t.name}": t.info.dtype for t in plan.kept}
    dtypes |= {
        f"module.{alias}": plan.by_name[root].info.dtype
        for alias, root in plan.aliases.items()
    }
    return {name: getattr(torch, dtype.name) for name, dtype in dtypes.items()}
