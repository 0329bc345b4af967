"""``finetune`` and ``evaluate`` from files to files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from . import container, weight_file
from .calibrated import calibrate_start
from .coded import Coded
from .data import sha256
from .devices import place
from .errors import UsageError
from .evaluate import evaluate as evaluate_model
from .events import Event, Finished, Note
from .finetune import finetune as train
from .followed import FollowedRun
from .importance import measured
from .limits import Limits
from .packing import asks_fisher
from .processes import Processes, join
from .scratch import (
    NO_TEACHER,
    first_weights,
    says_absent_teacher,
    without_absent_teacher,
)
from .source import version
from .spec import FinetuneSpec, Spec
from .starting import Start, starting_point, weighted
from .stopping import Stop, never
from .student import is_own_teacher, network, stored, teacher_of, tie
from .tasks import Task, make_task, split
from .tie import Tied
from .weight_file import PlainWeights, PooledWeights

StrPath = str | os.PathLike[str]


def finetune(
    path: StrPath | None,
    spec: Spec,
    output: StrPath,
    *,
    force: bool,
    key: str | None,
    task: str | None,
    run: StrPath | None,
    resume: str | None,
    allow_mismatch: bool,
    device: str,
    stop: Stop | None,
    limits: Limits,
) -> Iterator[Event]:
    """As :func:`wpack.api.finetune`, which checks that the output may be written."""
    processes = join(device)
    recipe = spec.finetune or FinetuneSpec()
    job = _task(spec, recipe, task)
    if path is None:
        _check_scratch(recipe)
    folder = _folder(run, resume)
    # A refused folder must not cost the reading of the checkpoint.
    session = FollowedRun(
        folder or f"{os.fspath(output)}.run",
        processes=processes,
        resume=resume is not None,
        allow_mismatch=allow_mismatch,
    )
    setting = _Setting(spec, recipe, job, session, device, processes, stop or never)
    seed = None
    if path is None:
        if says_absent_teacher(recipe):
            yield Note(NO_TEACHER)
        seed, recipe = recipe.seed, without_absent_teacher(recipe)
        setting = replace(setting, recipe=recipe)
        path = processes.by_first(partial(first_weights, job, seed, session))
    with weight_file.opened(path, key=key, limits=limits) as file:
        start, student, importance = yield from _begin(setting, file, seed)
        teacher = teacher_of(spec, recipe, job, file, limits)
    coded = Coded(student, importance)
    events = train(
        student,
        job,
        recipe,
        teacher=teacher,
        run=session,
        coded=coded,
        config=_config(start, seed, task) | _taught_by(recipe, teacher),
        device=device,
        stop=setting.stop,
    )
    about = start.plan, spec.text, start.source
    for event in events:
        if isinstance(event, Finished):
            # The run's last word is only true once the file stands.
            processes.by_first(
                lambda: container.write(
                    output, *about, stored(student), coded=coded.best, force=force
                )
            )
        yield event


@dataclass(frozen=True)
class _Setting:
    """What a run is told, and what it is made of before a weight is read."""

    spec: Spec
    recipe: FinetuneSpec
    job: Task
    session: FollowedRun
    device: str
    processes: Processes
    stop: Stop


def _begin(
    setting: _Setting, file: PooledWeights | PlainWeights, seed: int | None
) -> Generator[Note, None, tuple[Start, Tied, dict[str, np.ndarray]]]:
    """Where training starts, the student there, and the Fisher information that was
    measured for it."""
    recipe, job, processes = setting.recipe, setting.job, setting.processes
    if recipe.gradual and isinstance(file, PooledWeights):
        raise UsageError(
            "the ties of a .wpool are whole, and cannot fade in",
            where="finetune.gradual",
            hint="Set it to 0, or start from the checkpoint",
        )
    start = starting_point(setting.spec, file, seed)
    for note in start.notes:
        yield Note(note)
    if is_own_teacher(recipe, file):
        yield Note(
            "the .wpool is its own teacher: it keeps what it does already; name another"
            " in finetune.distill.teacher, or set finetune.distill to null"
        )
    importance: dict[str, np.ndarray] = {}
    if asks_fisher(setting.spec, start.plan):
        importance = yield from measured(
            network(job, file),
            job,
            recipe,
            start,
            setting.session,
            setting.device,
            processes,
            setting.stop,
        )
        start = weighted(setting.spec, file, start, importance)
    model, gradually = network(job, file), recipe.gradual > 0
    student = tie(model, start.plan, start.backing, gradually=gradually)
    if recipe.calibrate:
        placement = place(setting.device, "float32", processes)
        # The others get the weights that training starts with from the first.
        told = processes.by_first(
            lambda: calibrate_start(
                student, file, job, recipe, importance, placement, setting.stop
            )
        )
        yield Note(told)
    return start, student, importance


def _folder(run: StrPath | None, resume: str | None) -> StrPath | None:
    """Of the run, where one was named."""
    if resume in (None, "auto"):
        return run
    if run is not None and Path(run).resolve() != Path(resume).resolve():
        raise UsageError(
            f"the run of {resume} cannot go on in {os.fspath(run)}",
            where="--resume",
            hint="Give --resume alone, or --resume auto with --run",
        )
    return Path(resume)


def _check_scratch(recipe: FinetuneSpec) -> None:
    """Refuse what only a trained network can have done to it."""
    refused = {
        "calibrate": (recipe.calibrate, "there is no trained network to calibrate"),
        "gradual": (recipe.gradual, "there is no trained network to fade out"),
    }
    for key, (asked, why) in refused.items():
        if asked:
            raise UsageError(
                why,
                where=f"finetune.{key}",
                hint="Set it to 0, or start from a checkpoint",
            )


def evaluate(
    path: StrPath,
    task: str,
    *,
    device: str,
    batch_size: int | None,
    limits: Limits,
) -> dict[str, float]:
    """As :func:`wpack.api.evaluate`."""
    job = make_task(task)
    with weight_file.opened(path, limits=limits) as file:
        model = network(job, file)
    found = split(job, "test") or split(job, "validation") or split(job, "train")
    if found is None:
        raise UsageError("the task has no data", where=task)
    placement = place(device, "float32")
    return evaluate_model(
        model.to(placement.device),
        job,
        found,
        batch_size=batch_size or FinetuneSpec().batch_size,
        placement=placement,
    )


def _task(spec: Spec, recipe: FinetuneSpec, override: str | None) -> Task:
    if override is not None:
        return make_task(override)
    if recipe.task is None:
        raise UsageError(
            "no task to train on",
            where="finetune",
            hint="Set finetune.task in the spec, or pass --task",
        )
    return make_task(recipe.task.name, recipe.task.options, spec.folder)


def _config(start: Start, seed: int | None, task: str | None) -> dict[str, Any]:
    """What a resumed run must have in common with the one that was stopped.

    Args:
        task: The one in place of the recipe's.
    """
    plan = hashlib.sha256(start.plan.to_json().encode()).hexdigest()
    return {
        **({} if seed is None else {"from_scratch": True}),
        **({} if task is None else {"task": task}),
        "plan_sha256": plan,
        "source_sha256": start.source.sha256,
        "wpack": version(),
    }


def _taught_by(recipe: FinetuneSpec, teacher: nn.Module | None) -> dict[str, str]:
    """Likewise, of a teacher that is not the checkpoint."""
    if teacher is None or recipe.distill is None or recipe.distill.teacher is None:
        return {}
    return {"teacher_sha256": sha256(teacher.state_dict())}
