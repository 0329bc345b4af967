r"""Accuracy over file bytes: wpack's pools and codecs, and what other tools make.

    python -m benchmarks.codecs.compare digits-vit --json digits.json
    python -m benchmarks.codecs.compare digits-vit --json digits.json \
        --rivals VENV/bin/python          # an environment that has the other tools
    WPACK_DATA=… python -m benchmarks.codecs.compare resnet56 \
        --checkpoint r56.safetensors --json r56.json --seeds 0 --steps 100

Every arm is one ``wpack finetune`` from the same checkpoint, which is its teacher, too:
the same examples in the same order for the same number of steps.  Arms differ in the
ratio and the codecs of the pools, see ``arms.py``; *untied* has neither.  With the
first seed each arm chooses its learning rate out of the same few, by the accuracy on
the validation split and then the loss; the other seeds have that one.  Bytes are the
file's, accuracy is that of ``wpack eval`` on the test split.  Each file must be
sound (``verify``), and be what it was when training evaluated it and what ``inflate``
makes of it, to the last bit.

Rivals train nothing: each is given the untied network of the same seed, fine-tuned as
long as all others; see ``rivals.py``.

A run's record goes into a folder as soon as it ends, with its file; one that was
stopped goes on where it was, and one that is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.codecs.arms import ARMS, NETWORKS, UNTIED
from benchmarks.codecs.compare_plot import draw, points, table
from benchmarks.figure4 import machine
from benchmarks.trials import ROOT, Record, Run, Study, shown, tuned
from wpack import api, durable
from wpack.errors import UsageError


def rival_rows(run: Run, study: Study, python: str, only: Sequence[str]) -> Record:
    """What other tools make of an untied run's network, or what is known of it."""
    path = run.path(study)
    known = path.with_suffix("".join(f".{name}" for name in only) + ".rivals.json")
    if not known.exists():
        plain = path.with_suffix(".safetensors")
        api.inflate(path, plain, force=True)
        words = [python, "-m", "benchmarks.codecs.rivals", str(plain.resolve())]
        words += ["--task", study.task, "--json", "--repeats", "1"]
        words += [word for name in only for word in ("--only", name)]
        with path.with_suffix(".rivals.log").open("wb") as log:  # some chat
            done = subprocess.run(
                words,
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
            )
        if done.returncode:
            raise UsageError("the other tools cannot be measured", where=log.name)
        json.loads(done.stdout)
        durable.write_bytes(known, done.stdout)
        plain.unlink()
    return {"seed": run.seed, "rows": json.loads(known.read_text("utf-8"))}


def compare(study: Study, options: argparse.Namespace) -> dict[str, Any]:
    """All runs and rivals of a study: the document of the results."""
    network = NETWORKS[options.network]
    named = [a for a in ARMS if a == UNTIED or a.name in (options.arms or [a.name])]
    arms = [arm.on(network) for arm in named]
    rates = options.rates or network.rates
    records, best = tuned(arms, rates, options.seeds, study, options.workers)
    rivals = []
    if options.rivals:
        untied = [Run(arms[0], seed, best[UNTIED.name]) for seed in options.seeds]
        rivals = [
            rival_rows(run, study, options.rivals, options.only) for run in untied
        ]
    document = {
        "command": "python -m benchmarks.codecs.compare " + shlex.join(options.shown),
        "machine": machine("cpu"),
        "network": options.network,
        "checkpoint_sha256": study.sha256,
        "steps": study.recipe.steps,
        "seeds": options.seeds,
        "rates": list(rates),
        "chosen_rates": best,
        "runs": records,
        "rivals": rivals,
    }
    return {**document, "points": points(document)}


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """What the command was told.

    Raises:
        UsageError: An arm that there is not, or no checkpoint.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--checkpoint", type=Path, help="what every run starts from")
    parser.add_argument("--runs", type=Path, help="their folder  [beside OUT]")
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], metavar="0,1,2")
    parser.add_argument("--steps", type=int, help="of training, for all alike")
    parser.add_argument("--rates", type=_rates, metavar="0.01,0.03")
    parser.add_argument("--arms", action="append", metavar="NAME", help="only these")
    parser.add_argument("--rivals", metavar="PYTHON", help="that has the other tools")
    parser.add_argument("--only", action="append", default=[], help="only these rivals")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(words)
    options.shown = [shown(Path(word)) if os.sep in word else word for word in words]
    options.runs = options.runs or options.json.parent / "runs" / options.json.stem
    options.checkpoint = options.checkpoint or NETWORKS[options.network].checkpoint
    if options.checkpoint is None:
        raise UsageError(f"{options.network} needs a --checkpoint")
    names = [arm.name for arm in ARMS]
    for name in options.arms or ():
        if name not in names:
            raise UsageError(f"no arm {name!r}", hint="There are: " + "; ".join(names))
    return options


def _numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _rates(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def main(words: Sequence[str] | None = None) -> None:
    """The command of the module's docstring."""
    options = arguments(sys.argv[1:] if words is None else words)
    options.runs.mkdir(parents=True, exist_ok=True)
    network = NETWORKS[options.network]
    settings = {"finetune.steps": options.steps} if options.steps else {}
    study = Study(network.spec, options.checkpoint, options.runs, settings)
    document = compare(study, options)
    durable.write_text(options.json, json.dumps(document, indent=1) + "\n", force=True)
    print(table(document))
    print(draw(options.json))


if __name__ == "__main__":
    main()
