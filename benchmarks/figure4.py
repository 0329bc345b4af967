r"""Accuracy over free parameters for each technique: the paper's Figure 4 in small.

    python benchmarks/figure4.py --data FOLDER                          # two cores
    python benchmarks/figure4.py --data FOLDER --task cifar10 --device cuda
    python benchmarks/figure4.py --plot-only

Every arm is one ``wpack finetune --from-scratch`` of the same network on the same
examples in the same order, for the same number of steps; arms differ in the technique
and the ratio of the one pool of the kernels inside the blocks.  Stem, batch norms and
head are kept.  ``dense`` is the network itself, trained by the same loop.

First each technique chooses its learning rate out of the same few, by the accuracy on
the validation split at one ratio and with a seed that is not used again.  Then come all
ratios and seeds.  In each run the epoch kept is the best on the validation split; the
accuracy drawn is that on the test split, evaluated after the choice.

A run's record is in the results file as soon as it ends; a sweep that was stopped goes
on where it was.  On a machine without a GPU every run has one thread, so ``--workers``
is the number of cores that it may use.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT))  # Tasks are named benchmarks.…, from anywhere.

from wpack import api, durable  # noqa: E402
from wpack.errors import TrainingError  # noqa: E402
from wpack.events import Finished  # noqa: E402
from wpack.finetune import finetune  # noqa: E402
from wpack.scratch import new_model  # noqa: E402
from wpack.spec import parse  # noqa: E402
from wpack.tasks import make_task  # noqa: E402

RESULTS = Path(__file__).parent / "results"
#: No technique: the network as it is.
DENSE = "dense"
SPEC = """
version: 1
pools:
  blocks: {{technique: {technique}, tensors: ["layer*.conv?.weight"], ratio: {ratio}}}
finetune: {recipe}
"""
#: The paper's 1.44 and 2.57, and beyond.  At 1 the ring and the laps are the network
#: itself, and pairs show what being products costs.  An outer product has N1 ≥ 2: its
#: first ratio is nearly 2.
RATIOS: dict[str, tuple[float, ...]] = {
    DENSE: (1,),
    "global": (1, 1.44, 2.57, 4, 8, 16),
    "layered": (1, 1.44, 2.57, 4, 8, 16),
    "hashed": (1.44, 2.57, 4, 8, 16),
    "outer": (1.98, 2.98, 4, 8, 16),
    "all_pairs": (1, 1.44, 2.57, 4, 8, 16),
    "smh": (1.44, 2.57, 4, 8, 16),
}
RATES = (0.003, 0.01, 0.03, 0.1)
#: Where and with which seed the learning rate is chosen.
TUNED_RATIO, TUNING_SEED = 4, 1000


@dataclass(frozen=True)
class Sweep:
    """A network, its data and what it is trained for.

    Attributes:
        options: Of the task, but for the data's folder.
    """

    task: str
    options: dict[str, Any]
    epochs: int
    batch_size: int

    def recipe(self, rate: float, seed: int, data: str) -> dict[str, Any]:
        """The spec's ``finetune`` section; all that arms do not differ in but ``lr``
        and ``seed``."""
        return {
            "task": {"name": self.task, "folder": data, **self.options},
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "eval_batch_size": 500,
            "optimizer": {"name": "adamw", "lr": rate, "weight_decay": 0.0},
            "schedule": {"name": "cosine", "warmup": 0.05},
            "distill": None,
            "precision": "float32",
            "seed": seed,
        }


SWEEPS = {
    "fashion": Sweep("benchmarks.fashion:Fashion", {"examples": 20_000}, 3, 100),
    "cifar10": Sweep("benchmarks.cifar10.task:Cifar10", {"depth": 20}, 60, 128),
}


@dataclass(frozen=True)
class Arm:
    """One training run.

    Attributes:
        tuning: Whether it only serves to choose a learning rate.
    """

    technique: str
    ratio: float
    rate: float
    seed: int
    tuning: bool = False


def record(arm: Arm, sweep: Sweep, data: str, device: str) -> dict[str, Any]:
    """Run an arm; its record, which says so where the training failed."""
    begin = time.perf_counter()
    try:
        found = train(arm, sweep, data, device)
    except TrainingError as error:  # Too high a learning rate.
        found = {"failed": error.what}
    seconds = round(time.perf_counter() - begin, 1)
    return {**asdict(arm), **found, "seconds": seconds}


def train(arm: Arm, sweep: Sweep, data: str, device: str) -> dict[str, Any]:
    """What an arm reaches, and with how many parameters."""
    recipe = json.dumps(sweep.recipe(arm.rate, arm.seed, data))
    technique = "global" if arm.technique == DENSE else arm.technique
    spec = parse(
        SPEC.format(technique=technique, ratio=arm.ratio, recipe=recipe), "figure4"
    )
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "m.wpool"
        if arm.technique == DENSE:
            finished, free = _train_dense(spec.finetune, device)
        else:
            *_, finished = api.finetune(None, spec, output, device=device)
            free = api.stats(output).free_parameters
    return {
        "free_parameters": free,
        "validation": finished.after["validation"],
        "test": finished.after["test"],
        "best_step": finished.step,
    }


def _train_dense(recipe: Any, device: str) -> tuple[Finished, int]:
    task = make_task(recipe.task.name, recipe.task.options)
    model = new_model(task, recipe.seed)
    *_, finished = finetune(model, task, recipe, device=device)
    return finished, sum(parameter.numel() for parameter in model.parameters())


class Results:
    """The results file: what was run with which settings, and on what.

    Raises:
        SystemExit: It has runs with other settings.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self.path = path
        self.document: dict[str, Any] = {
            "settings": settings,
            "machine": machine(settings["device"]),
            "runs": [],
        }
        if path.exists():
            found = json.loads(path.read_text("utf-8"))
            if found["settings"] != settings:
                sys.exit(f"{path}: has runs with other settings; name another -o")
            self.document = found

    def find(self, arm: Arm) -> dict[str, Any] | None:
        """The record of an arm, if it was run."""
        wanted = asdict(arm).items()
        runs = self.document["runs"]
        return next((run for run in runs if wanted <= run.items()), None)

    def add(self, record: dict[str, Any]) -> None:
        """Keep a record, on disk at once."""
        self.document["runs"].append(record)
        self.write()

    def write(self) -> None:
        """Replace the file by what it should be now."""
        text = json.dumps(self.document, indent=1) + "\n"
        durable.write_text(self.path, text, force=True)


def run(arms: list[Arm], results: Results, options: argparse.Namespace) -> None:
    """Run all arms that have no record yet."""
    missing = [arm for arm in arms if results.find(arm) is None]
    # Forked: workers share this program as it is now, whatever becomes of its files.
    context = multiprocessing.get_context(
        "fork" if options.device == "cpu" else "spawn"
    )
    with ProcessPoolExecutor(
        options.workers, context, torch.set_num_threads, (1,)
    ) as pool:
        sweep = SWEEPS[options.task]
        futures = [
            pool.submit(record, arm, sweep, options.data, options.device)
            for arm in missing
        ]
        for done, future in enumerate(as_completed(futures), 1):
            results.add(future.result())
            print(f"{done}/{len(missing)}", json.dumps(future.result()), flush=True)


def tuning_arms() -> Iterator[Arm]:
    """The runs that choose learning rates."""
    for technique, ratios in RATIOS.items():
        ratio = TUNED_RATIO if TUNED_RATIO in ratios else ratios[0]
        for rate in RATES:
            yield Arm(technique, ratio, rate, TUNING_SEED, tuning=True)


def chosen_rates(results: Results) -> dict[str, float]:
    """Technique → the learning rate that was best on the validation split."""
    best: dict[str, tuple[float, float]] = {}
    for arm in tuning_arms():
        record = results.find(arm)
        if record is not None and "failed" not in record:
            reached = (record["validation"]["accuracy"], arm.rate)
            best[arm.technique] = max(best.get(arm.technique, reached), reached)
    return {technique: rate for technique, (_, rate) in best.items()}


def sweep_arms(rates: dict[str, float], seeds: int) -> list[Arm]:
    """The runs of the figure; seed by seed, so that a part of them is a figure too."""
    return [
        Arm(technique, ratio, rates[technique], seed)
        for seed in range(seeds)
        for technique, ratios in RATIOS.items()
        for ratio in ratios
    ]


def machine(device: str) -> dict[str, Any]:
    """What the seconds depend on."""
    cuda = device.startswith("cuda")
    return {
        "device": torch.cuda.get_device_name(device) if cuda else platform.machine(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--task", choices=SWEEPS, default="fashion")
    parser.add_argument("--data", help="Folder that has fashion/ or cifar10/")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, help="The results, a .json")
    parser.add_argument("--plot-only", action="store_true", help="Draw what is there")
    options = parser.parse_args()
    if options.output is None:
        suffix = "" if options.task == "fashion" else f"-{options.task}"
        options.output = RESULTS / f"figure4{suffix}.json"
    if not options.plot_only and options.data is None:
        parser.error("--data is needed")
    return options


def main() -> None:
    options = arguments()
    if not options.plot_only:
        settings = {
            **asdict(SWEEPS[options.task]),
            "rates": RATES,
            "tuned_ratio": TUNED_RATIO,
            "device": options.device,
        }
        results = Results(options.output, json.loads(json.dumps(settings)))
        run(list(tuning_arms()), results, options)
        rates = chosen_rates(results)
        results.document["chosen_rates"] = rates
        results.write()
        run(sweep_arms(rates, options.seeds), results, options)
    from benchmarks.figure4_plot import draw

    print(draw(options.output))


if __name__ == "__main__":
    main()
