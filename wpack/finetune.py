"""Fine-tuning: one loop, from top to bottom, that yields what happens.

    for event in finetune(tied, task, recipe, teacher=original, run=run):
        if isinstance(event, Step):
            print(event.step, event.loss)

Under torchrun each process runs this loop, and all take every step together.  Nothing
is printed and no signal is caught here.  When the loop has ended, the student holds the
best weights, rounded to what its file will store or decoded from its very bytes: what
is written is exactly what was evaluated.  On a CPU a run that was stopped anywhere and
resumed gives the same bits as one that was not, with the same number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from . import overflow
from .batches import Batches
from .coded import Coded
from .data import fingerprint
from .devices import place
from .errors import TrainingError, WpackError
from .evaluate import blaming, evaluate
from .events import Evaluated, Event, Finished, Note
from .keeping import Keeping
from .meter import Meter
from .processes import join
from .runs import Run
from .sampling import Sampler
from .scores import Scores
from .spec.recipe import FinetuneSpec
from .stopping import Interrupted, Stop, never
from .student import storage_dtypes, widen
from .tasks import Task, splits
from .training import Training

#: What a run is made of that its states are of no use without.
BOUND = ("plan_sha256", "metric", "recipe.optimizer.name")


def finetune(
    student: nn.Module,
    task: Task,
    recipe: FinetuneSpec,
    *,
    teacher: nn.Module | None = None,
    run: Run | None = None,
    config: Mapping[str, Any] | None = None,
    storage: Mapping[str, torch.dtype] | None = None,
    coded: Coded | None = None,
    device: str = "auto",
    stop: Stop = never,
) -> Iterator[Event]:
    """Train a student, tied or not.

    Args:
        student: :class:`~wpack.tie.Tied` or any module; moved to the device and trained
            in place, in float32 where it was in half precision.
        recipe: The spec's ``finetune`` section; its ``task`` and ``distill.teacher``
            are the caller's to resolve.
        teacher: The untied network; not called without ``recipe.distill``.
        run: Where to save and log, under torchrun a
            :class:`~wpack.followed.FollowedRun`; None: nowhere.  Closed at the end.
        config: What else the run is made of (versions, hashes of plan and checkpoint),
            as JSON values; a changed one is not resumed.
        storage: State-dict name of the student → dtype that it will be stored in; None:
            as the plan of a tied student says, and unchanged for another.
        coded: What codecs store of it, and at the end the bytes; None: as planned.
        device: ``auto`` or a torch device.
        stop: Asked before each step and evaluated batch; any process's ends all.

    Yields:
        One :class:`~wpack.events.Step` a step, and the other events between them; last
        comes :class:`~wpack.events.Finished`.

    Raises:
        TrainingError: The data, the task or the loss make going on impossible.
        UsageError: The run, the device or the recipe does not fit.
        Interrupted: ``stop`` said so; the run was saved.
        StorageError: The last state could not be saved.
    """
    coded = coded or Coded(student)
    job = _Job(student, task, recipe, teacher, storage, coded, device, run, stop)
    try:
        yield from job.start(config or {})
        yield from job.prepare()
        while True:
            if job.evaluation_is_due():
                yield from job.evaluate()
            if job.saving_is_due():
                yield from job.save()
            if job.is_done():
                break
            if code := job.stop():
                raise Interrupted("stopped between two steps", exit_code=code)
            yield from job.take_step()
        yield from job.finish()
    except Interrupted as interrupted:
        yield from job.interrupt(interrupted.exit_code)
    finally:
        job.close()


class _Job:
    """The parts of the loop and what they pass to each other."""

    def __init__(
        self,
        student: nn.Module,
        task: Task,
        recipe: FinetuneSpec,
        teacher: nn.Module | None,
        storage: Mapping[str, torch.dtype] | None,
        coded: Coded,
        device: str,
        run: Run | None,
        stop: Stop,
    ) -> None:
        self.task, self.recipe = task, recipe
        widen(student)
        self.processes = join(device)
        self.stop = self.processes.agreeing(stop)
        self.placement = replace(
            place(device, recipe.precision, self.processes),
            channels_last=recipe.channels_last,
        )
        with blaming("data"):
            self.splits = splits(task)
        sampler = Sampler(len(self.splits["train"]), recipe.batch_size, recipe.seed)
        batches = Batches(sampler, self.processes, recipe.accumulate)
        self.per_epoch = sampler.steps_per_epoch
        self.steps = recipe.steps or (recipe.epochs or 1) * self.per_epoch
        self.training = Training(
            student.to(self.placement.device),
            task,
            recipe,
            teacher=teacher,
            storage=storage_dtypes(student) if storage is None else storage,
            coded=coded,
            placement=self.placement,
            batches=batches,
            steps=self.steps,
        )
        self.overflow = overflow.Overflow(self.training.scaler)
        metric = recipe.metric or task.metric
        self.scores = Scores(metric, metric in task.lower_is_better)
        #: The split evaluated each epoch; ``test`` only where there is no other.
        self.watched = next((name for name in self.splits if name != "train"), "")
        every = recipe.save_every or self.per_epoch
        self.keeping = Keeping(run, every, self.steps)
        self.meter = Meter(self.steps, self.per_epoch, task.unit, self.placement.device)

    def start(self, config: Mapping[str, Any]) -> Iterator[Event]:
        """Begin the run, or go back to where it was."""
        self.training.student.train()
        # The first alone may have calibrated its own.
        self.processes.spread(list(self.training.weights().values()))
        if self.keeping.run is None:
            return
        with blaming("data"):
            prints = {name: fingerprint(data) for name, data in self.splits.items()}
        state = self.keeping.run.start(
            {
                **config,
                "data": prints,
                "metric": self.scores.metric,
                "precision": self.placement.precision,
                "processes": self.processes.count,
                "recipe": self.recipe.model_dump(mode="json", exclude={"save_every"}),
                "torch": torch.__version__,
            },
            BOUND,
            self.steps,
        )
        for text in self.keeping.run.notes:
            yield from self.keeping.tell(Note(text))
        if state is not None:
            with blaming(f"step {state.step} of the run"):
                self.training.restore(state.step, state.tensors, state.values)
            self.scores = Scores(**state.values["scores"])
            self.keeping.resume(state.step)

    def prepare(self) -> Iterator[Event]:
        """What the first step needs, in this process or after a resume."""
        if not self.is_done():
            for text in self.training.prepare(self.splits["train"], self.stop):
                yield from self.keeping.tell(Note(text))
            self.meter.restart()

    def evaluation_is_due(self) -> bool:
        """Whether this is the start, the end, or the end of an epoch."""
        step = self.training.step
        at_border = step % self.per_epoch == 0 or step == self.steps
        return bool(self.watched) and at_border and step != self.scores.step

    def evaluate(self) -> Iterator[Event]:
        """Evaluate the weights as they would be stored, and keep the best."""
        training, names = self.training, [self.watched]
        if training.step == 0:
            names = [name for name in self.splits if name != "train"]
        events: list[Event] = []
        with training.as_stored() as weights:
            for name in names:
                events.append(event := self._measure(name, training.step))
                if event.is_best:
                    training.keep(weights)
        self.scores.step = training.step
        for told in events:
            yield from self.keeping.tell(told)
        self.meter.restart()

    def saving_is_due(self) -> bool:
        """Whether there is a state to save that is not saved yet."""
        return self.keeping.is_due(self.training.step)

    def save(self, *, must: bool = False) -> Iterator[Event]:
        """Save the run; a failure is told and outlived, unless nothing comes after."""
        values = {"scores": asdict(self.scores)}
        yield from self.keeping.save(self.training, values, must=must)
        self.meter.restart()

    def is_done(self) -> bool:
        """Whether the last step was taken."""
        return self.training.step == self.steps

    def take_step(self) -> Iterator[Event]:
        """Take one step; tell of it, or of several at once."""
        training = self.training
        with blaming(f"step {training.step + 1}"):
            loss = training.take_step(self.splits["train"])
        is_full = self.meter.add(training.step, training.rate, loss, training.count)
        is_border = self.is_done() or self.evaluation_is_due() or self.saving_is_due()
        if is_full or is_border:
            yield from self._read()

    def interrupt(self, code: int) -> Iterator[Event]:
        """Save, and raise :class:`~wpack.stopping.Interrupted`."""
        yield from self._read()
        yield from self.save(must=True)
        raise Interrupted(
            f"stopped after step {self.training.step} of {self.steps}",
            exit_code=code,
            where=self.keeping.where,
            hint=self.keeping.way_back,
        )

    def finish(self) -> Iterator[Event]:
        """Give the student the result, and evaluate that on ``test``."""
        scores, training = self.scores, self.training
        training.settle()
        step = scores.settle(self.steps)
        if scores.best and "test" in self.splits:
            yield from self.keeping.tell(self._measure("test", step))
        after = dict(scores.latest)
        yield from self.keeping.tell(
            Finished(step, scores.metric, scores.before, after)
        )

    def close(self) -> None:
        """Give up the student and the run folder."""
        self.training.close()
        self.keeping.close()

    def _measure(self, split: str, step: int) -> Evaluated:
        metrics = evaluate(
            self.training.student,
            self.task,
            self.splits[split],
            batch_size=self.recipe.eval_batch_size or self.recipe.batch_size,
            placement=self.placement,
            processes=self.processes,
            stop=self.stop,
        )
        is_best = self.scores.add(step, split, metrics)
        return Evaluated(step, split, metrics, self.scores.metric, is_best)

    def _read(self) -> Iterator[Event]:
        """Tell of the steps taken since the last time."""
        for step in self.meter.read():
            if not math.isfinite(step.loss):
                what = f"the loss is {step.loss} at step {step.step}"
                hint = "Lower finetune.optimizer.lr, or set finetune.clip_norm"
                raise self._hopeless(what, hint)
            yield from self.keeping.tell(step)
        if what := self.overflow.found(self.training.step):
            raise self._hopeless(what, overflow.HINT)

    def _hopeless(self, what: str, hint: str) -> WpackError:
        """Training cannot go on."""
        keeping = self.keeping
        error = TrainingError(what + keeping.kept, where=keeping.where, hint=hint)
        return self.processes.told(error)
