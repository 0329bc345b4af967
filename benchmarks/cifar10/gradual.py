r"""Gradual tying: does it pay to fade the ties in?

    WPACK_DATA=… python -m benchmarks.cifar10.gradual resnet20-jpeg.safetensors \
        --json gradual.json

What the projection takes from a working weight, its residual, is put back at first and
faded out: during the first share of the steps a working weight is
``backing[i] + (1 - t) · residual`` with t going from 0 to 1.  At the start the network
is the checkpoint itself, later it is tied as any other.  A share of 0 ties at once.

All arms train the same pool of ResNet-20 with labels alone, on the same examples in the
same order, and choose their learning rate on the validation split with the first seed.
wpack has no such switch; what this measures would decide on one.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from benchmarks.cifar10.task import resnet20
from benchmarks.figure4 import machine
from benchmarks.trials import overrides, shown
from wpack import durable, weight_file
from wpack.devices import Placement
from wpack.evaluate import evaluate
from wpack.limits import Limits
from wpack.plan import Plan
from wpack.sampling import Sampler, generator
from wpack.spec import load
from wpack.starting import starting_point
from wpack.student import fill

SPEC = Path(__file__).with_name("resnet.yaml")
BATCH, MOMENTUM, DECAY = 128, 0.9, 1e-4


@dataclass(frozen=True)
class Arm:
    """One training: the share of the steps in which the ties are faded in, and the
    rest."""

    share: float
    rate: float
    seed: int


class Fading(nn.Module):
    """A ResNet whose kernels come from a pool and, less and less, from a residual."""

    def __init__(self, network: nn.Module, plan: Plan, backing: Tensor) -> None:
        super().__init__()
        self.network, self.plan = network, plan
        self.backing = nn.Parameter(backing)
        self.fade = 0.0
        weights = dict(network.named_parameters())
        self.residual = {
            name: (weights[name] - made).detach() for name, made in self.made().items()
        }
        for name in self.residual:
            weights[name].requires_grad_(False)

    def made(self) -> dict[str, Tensor]:
        """Kernel → what the pool makes of it."""
        (pool,) = self.plan.pools
        return {
            tensor.name: pool.technique.expand(
                torch, pool.table, tensor.pieces[0][1], self._range(tensor.pieces[0][1])
            ).view(tensor.info.shape)
            for tensor in self.plan.pooled
        }

    def _range(self, piece: Any) -> Tensor:
        (pool,) = self.plan.pools
        spans = pool.table.pieces(piece)
        return torch.cat([self.backing[s : s + n] for s, _, n in spans])

    def forward(self, images: Tensor) -> Tensor:
        """Logits, from kernels as they are at :attr:`fade`."""
        kernels = self.made()
        if self.fade < 1:
            for name, residual in self.residual.items():
                kernels[name] = kernels[name] + (1 - self.fade) * residual
        logits: Tensor = functional_call(self.network, kernels, (images,))
        return logits


def train(start: Path, arm: Arm, ratio: float, steps: int) -> dict[str, Any]:
    """A training; its accuracy on the validation and test splits."""
    spec = load(SPEC, overrides({"pools.blocks.ratio": ratio}))
    with weight_file.opened(start, limits=Limits()) as file:
        begun = starting_point(spec, file)
        network = fill(resnet20.model(), file)
    (backing,) = begun.backing.values()
    student = Fading(network, begun.plan, torch.from_numpy(backing))
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(
        [
            {"params": [p for p in trained if p.ndim > 1 or p is student.backing]},
            {
                "params": [
                    p for p in trained if p.ndim == 1 and p is not student.backing
                ]
            },
        ],
        lr=arm.rate,
        momentum=MOMENTUM,
        weight_decay=DECAY,
    )
    optimizer.param_groups[1]["weight_decay"] = 0.0
    data = resnet20.data("train")
    sampler = Sampler(len(data), BATCH, arm.seed)
    placement = Placement(torch.device("cpu"), "bfloat16")
    for step in range(steps):
        student.fade = min(1.0, step / (arm.share * steps)) if arm.share else 1.0
        for group in optimizer.param_groups:
            group["lr"] = arm.rate * (1 + math.cos(math.pi * step / steps)) / 2
        indices = torch.from_numpy(sampler.indices(step))
        images, labels = data.batch(indices, generator(arm.seed, step))
        with placement.autocast():
            logits = student(images)
        optimizer.zero_grad()
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
    student.fade = 1.0
    found = {
        split: evaluate(
            student, resnet20, resnet20.data(split), batch_size=500, placement=placement
        )
        for split in ("validation", "test")
    }
    return {"share": arm.share, "rate": arm.rate, "seed": arm.seed, **found}


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The records of all shares, each at the rate that it chose."""
    records = []
    first, *others = options.seeds
    for share in options.shares:
        tried = [
            _told(
                train(
                    options.start, Arm(share, rate, first), options.ratio, options.steps
                )
            )
            for rate in options.rates
        ]
        best = max(tried, key=lambda r: r["validation"]["accuracy"])["rate"]
        records += tried
        records += [
            _told(
                train(
                    options.start, Arm(share, best, seed), options.ratio, options.steps
                )
            )
            for seed in others
        ]
        for record in records:
            if record["share"] == share:
                record["chosen"] = record["rate"] == best
    return records


def _told(record: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(record), flush=True)
    return record


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Mean test accuracy of each share at its rate."""
    lines = []
    for share in sorted({record["share"] for record in records}):
        some = [r for r in records if r["share"] == share and r["chosen"]]
        found = [100 * r["test"]["accuracy"] for r in some]
        spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
        begin = f"share {share:g}, rate {some[0]['rate']:g}"
        lines.append(f"{begin:24} {statistics.fmean(found):.2f}{spread}")
    return "\n".join(lines)


def _numbers(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


def main(words: Sequence[str] | None = None) -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", type=Path, help="the checkpoint")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--ratio", type=float, default=2.57)
    parser.add_argument("--steps", type=int, default=351, help="  [an epoch]")
    parser.add_argument("--shares", type=_numbers, default=[0.0, 0.3, 0.7])
    parser.add_argument("--rates", type=_numbers, default=[0.01, 0.03])
    parser.add_argument(
        "--seeds", type=lambda t: [int(w) for w in t.split(",")], default=[0, 1, 2]
    )
    words = sys.argv[1:] if words is None else words
    options = parser.parse_args(words)
    records = compare(options)
    shown_words = [shown(Path(w)) if "/" in w else w for w in words]
    document = {
        "command": "python -m benchmarks.cifar10.gradual " + shlex.join(shown_words),
        "machine": machine("cpu"),
        "ratio": options.ratio,
        "steps": options.steps,
        "runs": records,
    }
    durable.write_text(options.json, json.dumps(document, indent=1) + "\n", force=True)
    print(table(records))


if __name__ == "__main__":
    main()
