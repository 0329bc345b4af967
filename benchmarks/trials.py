"""Fine-tunings to compare: arms, learning rates and seeds from one checkpoint.

A run's record goes into a folder as soon as it ends, with its file; one that was
stopped goes on where it was, and one that is there is not made again.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shlex
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from wpack import api, durable
from wpack.allocator import keep_memory
from wpack.errors import TrainingError, WpackError
from wpack.events import Finished
from wpack.spec import FinetuneSpec, Spec, load

ROOT = Path(__file__).parents[1]
#: Between what training evaluates at half precision and what ``wpack eval`` does.
HALF_PRECISION = 0.01

#: Of a run, as JSON values.
Record = dict[str, Any]


@dataclass(frozen=True)
class Arm:
    """One way to do it.

    Attributes:
        settings: Place in the study's spec → what stands there for this arm.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """A network, where its runs are kept, and what all of them share.

    Attributes:
        spec: Pools, and the recipe that all arms share.
        checkpoint: What every run starts from.
        folder: Of the runs.
        settings: Place in the spec → what stands there for every run.
        device: What they run on.
        metric: Of the task's, the one that chooses.
    """

    spec: Path
    checkpoint: Path
    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "cpu"
    metric: str = "accuracy"

    @cached_property
    def sha256(self) -> str:
        """The checkpoint's."""
        return hashlib.sha256(self.checkpoint.read_bytes()).hexdigest()

    @cached_property
    def recipe(self) -> FinetuneSpec:
        """What all arms share."""
        recipe = load(self.spec, overrides(self.settings)).finetune
        assert recipe is not None
        return recipe

    @property
    def task(self) -> str:
        """As ``wpack eval`` takes it."""
        assert self.recipe.task is not None
        return self.recipe.task.name


@dataclass(frozen=True)
class Run:
    """One training of an arm."""

    arm: Arm
    seed: int
    rate: float

    def settings(self, study: Study) -> dict[str, Any]:
        """Place in the study's spec → what stands there for this run."""
        return {
            **self.arm.settings,
            **study.settings,
            "finetune.optimizer.lr": self.rate,
            "finetune.seed": self.seed,
        }

    def spec(self, study: Study) -> Spec:
        """The study's spec with these settings."""
        return load(study.spec, overrides(self.settings(study)))

    def path(self, study: Study) -> Path:
        """The file that it writes; another one for other settings."""
        known = [self.spec(study).text, study.sha256]
        digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]
        words = f"{self.arm.name} seed{self.seed} {digest}"
        return study.folder / f"{words.replace(',', '').replace(' ', '-')}.wpool"

    def command(self, study: Study) -> str:
        """What does the same on the command line, from the repository's folder."""
        words = ["wpack", "finetune", shown(study.checkpoint), "-s"]
        words += [shown(study.spec), "-o", self.path(study).name]
        words += ["--device", study.device]
        for text in overrides(self.settings(study)):
            words += ["--set", text]
        return shlex.join(words)


def overrides(settings: Mapping[str, Any]) -> list[str]:
    """Settings as ``--set`` takes them."""
    return [f"{place}={json.dumps(value)}" for place, value in settings.items()]


def tuned(
    arms: Sequence[Arm],
    rates: Sequence[float],
    seeds: Sequence[int],
    study: Study,
    workers: int,
) -> tuple[list[Record], dict[str, float]]:
    """Runs of all arms.  With the first seed each chooses its learning rate on the
    validation split; the other seeds have that one.

    Returns:
        All records, and arm → chosen rate.
    """
    first, *others = seeds
    trying = [Run(arm, first, rate) for arm in arms for rate in rates]
    records = all_records(trying, study, workers)
    best = chosen(records, study.metric)
    more = [
        Run(a, seed, best[a.name]) for seed in others for a in arms if a.name in best
    ]
    return records + all_records(more, study, workers), best


def all_records(runs: Sequence[Run], study: Study, workers: int) -> list[Record]:
    """The records of runs, made by several processes of a thread each."""
    if not runs:
        return []
    # Forked: workers share this program as it is now, whatever becomes of its files.
    context, found = multiprocessing.get_context("fork"), []
    with ProcessPoolExecutor(workers, context, _begin) as pool:
        futures = [pool.submit(record, run, study) for run in runs]
        for done, future in enumerate(as_completed(futures), 1):
            found.append(future.result())
            print(f"{done}/{len(futures)} {_line(found[-1])}", flush=True)
    return sorted(found, key=lambda r: (r["arm"], r["seed"], r["rate"]))


def _begin() -> None:
    """What a worker does first."""
    torch.set_num_threads(1)
    keep_memory()


def chosen(records: Iterable[Record], metric: str = "accuracy") -> dict[str, float]:
    """Arm → the learning rate that was best on the validation split, by the metric and
    then the loss."""
    best: dict[str, tuple[float, float, float]] = {}
    for found in records:
        if "failed" not in found:
            reached = found["validation"]
            merit = -reached["loss"] if metric == "loss" else reached[metric]
            key = (merit, -reached["loss"], found["rate"])
            best[found["arm"]] = max(best.get(found["arm"], key), key)
    return {arm: rate for arm, (_, _, rate) in best.items()}


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
        device=study.device,
        force=True,
        resume=resume,
    )
    assert isinstance(last, Finished)
    batch = study.recipe.eval_batch_size or study.recipe.batch_size
    metrics = api.evaluate(path, study.task, device=study.device, batch_size=batch)
    stats = api.stats(path)
    half = study.recipe.precision in ("bfloat16", "float16")
    slack = HALF_PRECISION if half else 0.0
    return {
        "nbytes": path.stat().st_size,
        "header_nbytes": stats.header_bytes,
        "free_parameters": stats.free_parameters,
        "inflated_nbytes": check(path, last.after["test"], metrics, slack),
        "validation": last.after["validation"],
        "metrics": metrics,
        "best_step": last.step,
    }


def check(
    path: Path,
    trained: Mapping[str, float],
    evaluated: Mapping[str, float],
    slack: float = 0.0,
) -> int:
    """Whether a file is sound, scores what it did in training, and inflates to itself.

    Args:
        slack: By how much a score may differ, or which share of one above 1.

    Returns:
        The bytes of the inflated file.

    Raises:
        WpackError: It is or does not.
    """
    if problems := api.verify(path):
        raise WpackError(problems[0], where=path)
    differences = {
        name: abs(value - evaluated[name]) / max(1.0, abs(value))
        for name, value in trained.items()
    }
    if any(difference > slack for difference in differences.values()):
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


def _line(found: Record) -> str:
    begin = f"{found['arm']:34} seed {found['seed']} rate {found['rate']:g}"
    if "failed" in found:
        return f"{begin}  {found['failed']}"
    return (
        f"{begin}  {found['nbytes']:>9,} bytes  validation"
        f" {_shown(found['validation'])}  {found['seconds']:.0f} s"
    )


def _shown(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4f}" for name, value in metrics.items())
