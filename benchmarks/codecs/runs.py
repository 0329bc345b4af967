"""One run of ``compare``: a training, its file, and what is to be known of it."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.codecs.arms import ROOT, Arm, Network
from wpack import api, durable
from wpack.errors import TrainingError, WpackError
from wpack.events import Finished
from wpack.spec import FinetuneSpec, Spec, load

#: Of a run, as JSON values.
Record = dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A network, where its runs are kept, and what all of them share.

    Attributes:
        checkpoint: What every run starts from.
        folder: Of the runs.
        steps: Of training; None: as the network's spec says.
    """

    network: Network
    checkpoint: Path
    folder: Path
    steps: int | None = None

    @cached_property
    def sha256(self) -> str:
        """The checkpoint's."""
        return hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()

    @cached_property
    def recipe(self) -> FinetuneSpec:
        """What all arms share."""
        recipe = load(self.network.spec).finetune
        assert recipe is not None
        return recipe

    @property
    def task(self) -> str:
        """As ``wpack eval`` takes it."""
        assert self.recipe.task is not None
        return self.recipe.task.name

    @property
    def length(self) -> int | None:
        """Steps of every run."""
        return self.steps or self.recipe.steps


@dataclass(frozen=True)
class Run:
    """One training of an arm."""

    arm: Arm
    seed: int
    rate: float

    def settings(self, study: Study) -> dict[str, Any]:
        """Place in the study's spec → what stands there for this run."""
        found = {
            **self.arm.overrides(study.network),
            "finetune.optimizer.lr": self.rate,
            "finetune.seed": self.seed,
        }
        return found if study.steps is None else found | {"finetune.steps": study.steps}

    def overrides(self, study: Study) -> list[str]:
        """The settings, for ``--set``."""
        return [f"{k}={json.dumps(v)}" for k, v in self.settings(study).items()]

    def spec(self, study: Study) -> Spec:
        """The study's spec with these settings."""
        return load(study.network.spec, self.overrides(study))

    def path(self, study: Study) -> Path:
        """The file that it writes; another one for other settings."""
        known = [self.spec(study).text, study.sha256]
        digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]
        words = f"{self.arm.name} seed{self.seed} {digest}"
        return study.folder / f"{words.replace(',', '').replace(' ', '-')}.wpool"

    def command(self, study: Study) -> str:
        """What does the same on the command line, from the repository's folder."""
        words = ["wpack", "finetune", shown(study.checkpoint), "-s"]
        words += [shown(study.network.spec), "-o", self.path(study).name]
        sets = [word for text in self.overrides(study) for word in ("--set", text)]
        return shlex.join([*words, "--device", "cpu", *sets])


def record(run: Run, study: Study) -> Record:
    """Train a run, or what is known of it from before."""
    path = run.path(study)
    known = path.with_suffix(".json")
    if known.exists():
        found: Record = json.loads(known.read_text("utf-8"))
        return found
    begin = time.perf_counter()
    about = {
        "arm": run.arm.name,
        "seed": run.seed,
        "rate": run.rate,
        "command": run.command(study),
    }
    try:
        found = {**about, **train(run, study)}
    except TrainingError as error:  # Too high a learning rate.
        found = {**about, "failed": str(error)}
    found["seconds"] = round(time.perf_counter() - begin, 1)
    durable.write_text(known, json.dumps(found, indent=1) + "\n")
    shutil.rmtree(f"{path}.run", ignore_errors=True)
    return found


def train(run: Run, study: Study) -> Record:
    """What a run reaches, and in how many bytes.

    Raises:
        WpackError: The file is not what was evaluated.
    """
    path = run.path(study)
    resume = "auto" if Path(f"{path}.run").exists() else None
    *_, last = api.finetune(
        study.checkpoint,
        run.spec(study),
        path,
        device="cpu",
        force=True,
        resume=resume,
    )
    assert isinstance(last, Finished)
    batch = study.recipe.eval_batch_size or study.recipe.batch_size
    metrics = api.evaluate(path, study.task, device="cpu", batch_size=batch)
    stats = api.stats(path)
    return {
        "nbytes": path.stat().st_size,
        "header_nbytes": stats.header_bytes,
        "free_parameters": stats.free_parameters,
        "inflated_nbytes": check(path, last.after["test"], metrics),
        "validation": last.after["validation"],
        "metrics": metrics,
        "best_step": last.step,
    }


def check(path: Path, trained: dict[str, float], evaluated: dict[str, float]) -> int:
    """Whether a file is sound, scores what it did in training, and inflates to itself.

    Returns:
        The bytes of the inflated file.

    Raises:
        WpackError: It is or does not.
    """
    if problems := api.verify(path):
        raise WpackError(problems[0], where=path)
    if trained["accuracy"] != evaluated["accuracy"]:
        raise WpackError(f"training found {trained}, eval {evaluated}", where=path)
    plain = path.with_suffix(".safetensors")
    api.inflate(path, plain, force=True)
    difference = api.diff(path, plain)
    if not difference.same:
        raise WpackError(f"inflates to another {difference.first}", where=path)
    nbytes = plain.stat().st_size
    plain.unlink()
    return nbytes


def shown(path: Path) -> str:
    """A path from the repository's folder, or its name if it lies elsewhere."""
    inside = path.resolve().is_relative_to(ROOT)
    return str(path.resolve().relative_to(ROOT)) if inside else path.name
