r"""Accuracy of tied ResNets after the same fine-tuning: the paper's recipe and wpack's.

    export WPACK_DATA=…          # has cifar10/cifar10_jpeg_train.npz and …_test.npz
    wpack finetune resnet20-12fca82f.th -s benchmarks/cifar10/resnet.yaml -o r20.wpool \
        --set finetune.optimizer.lr=0.01
    wpack inflate r20.wpool -o resnet20-jpeg.safetensors
    python -m benchmarks.cifar10.compare resnet20-jpeg.safetensors --json short.json \
        --parts 2.57 --workers 2
    python -m benchmarks.cifar10.compare resnet56-jpeg.safetensors --json long.json \
        --depth 56 --epochs 30 --ratios 1.25,1.44,2,2.57,4 --device cuda

The published checkpoints were not trained on JPEG files, and a teacher off its data
misleads: so the first two commands make one that was, and all arms start from it.
Every arm is one ``wpack finetune``, on the same examples in the same order, for the
same number of steps.  *Untied* is the network as it is; *the paper's recipe* ties all
kernels inside the blocks in one ring, starts from their means and learns from labels;
*wpack's* has all of ``arms.INGREDIENTS``, and the checkpoint as its teacher.  Each arm
chooses its learning rate out of the same few on the validation split with the first
seed, and has it with the others; accuracy is that of ``wpack eval`` on the test split.

With ``--parts RATIO`` each ingredient is added to the recipe alone, and left out of
wpack's, at the rate of the arm that it is added to or left out of.

Runs are kept in a folder beside OUT, see ``benchmarks/trials.py``: one that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cifar10.arms import (
    INGREDIENTS,
    KERNELS,
    OURS,
    RECIPE,
    TRIED,
    UNTIED,
    main_arms,
    part_arms,
)
from benchmarks.cifar10.compare_plot import draw, table
from benchmarks.figure4 import machine
from benchmarks.trials import Run, Study, all_records, shown, tuned
from wpack import durable

HERE = Path(__file__).parent


def compare(study: Study, options: argparse.Namespace) -> dict[str, Any]:
    """All runs of a study: the document of the results."""
    arms = [UNTIED]
    arms += [a for ratio in options.ratios for a in main_arms(ratio, options.depth)]
    records, best = tuned(arms, options.rates, options.seeds, study, options.workers)
    records += all_records(_parts(options, best), study, options.workers)
    return {
        "command": "python -m benchmarks.cifar10.compare " + shlex.join(options.shown),
        "machine": machine(options.device),
        "checkpoint_sha256": study.sha256,
        "depth": options.depth,
        "epochs": options.epochs,
        "ratios": list(options.ratios),
        "parts_ratio": options.parts,
        "seeds": list(options.seeds),
        "rates": list(options.rates),
        "chosen_rates": best,
        "ingredients": {**INGREDIENTS, **TRIED},
        "runs": records,
    }


def _parts(options: argparse.Namespace, rates: dict[str, float]) -> list[Run]:
    """What shows what each ingredient is worth, at the rates of the arms that they are
    added to or left out of."""
    runs = []
    for arm in part_arms(options.parts, options.depth) if options.parts else ():
        beside = RECIPE if "alone" in arm.name else OURS
        rate = rates[f"{beside}, {options.parts}"]
        runs += [Run(arm, seed, rate) for seed in options.part_seeds]
    return runs


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What the command was told."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="the published one")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--depth", type=int, default=20, choices=sorted(KERNELS))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--task", help="another than that of the depth")
    parser.add_argument("--ratios", type=_numbers, default=(1.44, 2.57))
    parser.add_argument("--rates", type=_numbers, default=(0.01, 0.03, 0.1))
    parser.add_argument("--seeds", type=_seeds, default=(0, 1, 2))
    parser.add_argument("--parts", type=float, help="ratio to take wpack's apart at")
    parser.add_argument("--part-seeds", type=_seeds, default=(0,))
    parser.add_argument("--runs", type=Path, help="their folder  [beside OUT]")
    parser.add_argument("--workers", type=int, default=1, help="of a thread each")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(words)
    options.shown = [shown(Path(word)) if os.sep in word else word for word in words]
    options.runs = options.runs or options.json.parent / "runs" / options.json.stem
    return options


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split(","))


def _seeds(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def main(words: Sequence[str] | None = None) -> None:
    """The command of the module's docstring."""
    options = arguments(sys.argv[1:] if words is None else words)
    options.runs.mkdir(parents=True, exist_ok=True)
    task = options.task or f"benchmarks.cifar10.task:resnet{options.depth}"
    settings = {"finetune.task": task, "finetune.epochs": options.epochs}
    study = Study(
        HERE / "resnet.yaml",
        options.checkpoint,
        options.runs,
        settings,
        options.device,
    )
    document = compare(study, options)
    durable.write_text(options.json, json.dumps(document, indent=1) + "\n", force=True)
    print(table(document))
    print(draw(options.json))


if __name__ == "__main__":
    main()
