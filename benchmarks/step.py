"""How much longer a weight-tied training step takes than the untied one.

    python benchmarks/step.py --model resnet50 --batch 16 --pixels 128
    python benchmarks/step.py --model deit-s --batch 32 --pixels 224 --pairs 7
    python benchmarks/step.py --technique all_pairs
    python benchmarks/step.py --technique "outer, permute: true" --ratio 1.9

Both arms are the same torchvision model with the same batch, loss and optimiser (SGD
with momentum); the tied one reads its matrices and kernels from one pool at N_h 2: a
``global`` one unless another technique is named, as a spec names it.  (``outer`` rounds
N_h up: asked for 1.9 it gives 2.)  Their steps alternate in one process, so that what
slows the machine slows both, and the figure is the median of the ratios of the pairs.
Peak memory is that of fresh processes, each with one arm.

Beside a ``global`` pool's figures stands what the arms' weights make the machine move,
counted: the tied step copies and adds gradients together, but steps half as many
parameters.  Divided by the measured rate of copying, that is as much slower or faster
as a tied step can be.

On Linux both arms run with a C library that keeps memory once it has it.  Left alone it
returns the end of its heap to the system whenever that is free, and gets it back page
by page, or not, by the luck of what lies there last: up to a tenth of a step, in either
arm.  ``--heap system`` leaves it alone.  Peak memory is measured so in any case.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

import wpack
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.tensors import BY_NAME, TensorInfo
from wpack.tie import Tied

RESULTS = Path(__file__).parent / "results" / "step.json"
SPEC = """
version: 1
pools:
  all: {{technique: {technique}, tensors: [{tensors}], ratio: {ratio}}}
"""
#: The paper's working set: kernels of blocks and shortcuts; projections and MLPs.
TENSORS = {
    "resnet50": '"layer*.conv*.weight", "layer*.downsample.0.weight"',
    "deit-s": '"*.in_proj_weight", "*.out_proj.weight", "*.mlp.*.weight"',
}
#: What makes glibc keep its memory; far more than any step needs.
KEPT_HEAP = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 40),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
}
#: Passes over four bytes in which one kernel steps a parameter by SGD with momentum: it
#: reads parameter, gradient and momentum, and writes parameter and momentum.
PASSES = 5


def network(name: str, pixels: int) -> nn.Module:
    """A model of random weights, the same on each call."""
    torch.manual_seed(0)
    if name == "resnet50":
        return torchvision.models.resnet50()
    size = {"num_layers": 12, "num_heads": 6, "hidden_dim": 384, "mlp_dim": 1536}
    return torchvision.models.VisionTransformer(pixels, patch_size=16, **size)


def tied(options: argparse.Namespace) -> Tied:
    """The model, reading one pool that is filled with the first weights: of products,
    so that these have the weights' size."""
    model = network(options.model, options.pixels)
    infos = [
        TensorInfo(key, BY_NAME[str(value.dtype).removeprefix("torch.")], value.shape)
        for key, value in model.state_dict().items()
    ]
    spec = SPEC.format(
        technique=options.technique, tensors=TENSORS[options.model], ratio=options.ratio
    )
    plan = make_plan(parse(spec), infos).plan
    (pool,) = plan.pools
    weights = [model.get_parameter(t.name).detach().flatten() for t in plan.pooled]
    first = torch.cat(weights)[: pool.backing]
    roots = first.sign() * first.abs() ** (1 / pool.technique.degree)
    return Tied(model, plan, {pool.name: roots})


class Arm:
    """A model in training, one batch for ever."""

    def __init__(self, model: nn.Module, options: argparse.Namespace) -> None:
        self.device = torch.device(options.device)
        self.model = model.to(self.device).train()
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1e-3, momentum=0.9, fused=True
        )
        random = torch.Generator().manual_seed(1)
        shape = (options.batch, 3, options.pixels, options.pixels)
        self.images = torch.randn(shape, generator=random).to(self.device)
        labels = torch.randint(0, 1000, (options.batch,), generator=random)
        self.labels = labels.to(self.device)

    def step(self) -> tuple[float, float]:
        """Seconds of one training step, on the clock and of all CPU cores together."""
        begin = self._now()
        self.optimizer.zero_grad()
        loss = nn.functional.cross_entropy(self.model(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        end = self._now()
        return end[0] - begin[0], end[1] - begin[1]

    def _now(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter(), time.process_time()


def arm(which: str, options: argparse.Namespace) -> Arm:
    """The ``tied`` or the ``untied`` arm."""
    if which == "tied":
        return Arm(tied(options), options)
    return Arm(network(options.model, options.pixels), options)


def timings(options: argparse.Namespace) -> dict[str, Any]:
    """Alternating steps of the two arms, and the medians of their pairs' ratios."""
    arms = {which: arm(which, options) for which in ("untied", "tied")}
    for _ in range(options.warmup):
        for each in arms.values():
            each.step()
    taken: dict[str, list[tuple[float, float]]] = {which: [] for which in arms}
    for pair in range(options.pairs):
        # Which comes first alternates too: the second finds the other's cache.
        for which in sorted(arms, reverse=bool(pair % 2)):
            taken[which].append(arms[which].step())
    pairs = list(zip(taken["tied"], taken["untied"], strict=True))
    ratios = [tied[0] / untied[0] for tied, untied in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return {
        "pairs": options.pairs,
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "cpu_time_ratio": statistics.median(t[1] / u[1] for t, u in pairs),
        "untied_seconds": statistics.median(wall for wall, _ in taken["untied"]),
        "tied_seconds": statistics.median(wall for wall, _ in taken["tied"]),
    }


def peak(options: argparse.Namespace) -> int:
    """Most bytes that this process held during four steps of the arm ``--peak``."""
    measured = arm(options.peak, options)
    measured.step()
    if measured.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(measured.device)
    elif sys.platform == "linux":
        # Forget what building the model took: give it back, and begin to count anew.
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    for _ in range(4):
        measured.step()
    if measured.device.type == "cuda":
        return torch.cuda.max_memory_allocated(measured.device)
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peaks(options: argparse.Namespace) -> dict[str, int]:
    """Peak memory of the arms, the median of some processes for each."""
    if not options.processes:
        return {}
    plain = {k: v for k, v in os.environ.items() if k not in KEPT_HEAP}
    found = {}
    for which in ("untied", "tied"):
        command = [sys.executable, __file__, *sys.argv[1:], "--peak", which]
        runs = [
            subprocess.check_output(command, env=plain)
            for _ in range(options.processes)
        ]
        found[f"{which}_peak_bytes"] = statistics.median(map(int, runs))
    return found


def weighed(bound: Tied) -> dict[str, int]:
    """Sizes of the arms' weights."""
    working = sum(pool.working for pool in bound.plan.pools)
    backing = sum(pool.backing for pool in bound.plan.pools)
    return {
        "working_parameters": working,
        "backing_parameters": backing,
        "copied_bytes": bound.copied_nbytes,
        "untied_optimizer_bytes": 4 * PASSES * working,
        "tied_optimizer_bytes": 4 * PASSES * backing,
    }


def traffic(bound: Tied, untied_seconds: float, device: str) -> dict[str, Any]:
    """Bytes that the arms move for the weights of a ``global`` pool, as far as they
    differ, and the ratios of their times if that were all."""
    found = weighed(bound)
    working, backing = found["working_parameters"], found["backing_parameters"]
    # Each working gradient is read, and written to the pool's; all but the first to
    # arrive at a place also read what is there.  Once each is the least possible.
    fold, least = 4 * (3 * working - backing), 4 * (working + backing)
    rest = 2 * bound.copied_nbytes + 4 * PASSES * (backing - working)
    rate = copy_rate(device)
    return {
        "fold_bytes": fold,
        "least_fold_bytes": least,
        "tied_minus_untied_bytes": fold + rest,
        "least_tied_minus_untied_bytes": least + rest,
        "copy_bytes_per_second": rate,
        "ratio_by_bytes": 1 + (fold + rest) / rate / untied_seconds,
        "ratio_limit": 1 + (least + rest) / rate / untied_seconds,
    }


def copy_rate(device: str) -> float:
    """Bytes read and written a second by copies too large for any cache."""
    source = torch.ones(1 << 26, device=device)
    target = torch.empty_like(source)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        target.copy_(source)[-1].item()  # waits for the device
        seconds.append(time.perf_counter() - begin)
    return 2 * source.nbytes / min(seconds)


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    cuda = options.device != "cpu"
    return {
        "cpu": names[0] if names else platform.processor(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(options.device) if cuda else "cpu",
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "wpack": getattr(wpack, "__version__", "source"),
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One entry of the results."""
    timed, bound = timings(options), tied(options)
    case = f"{options.model}, batch {options.batch}, {options.pixels} px"
    if options.technique != "global":
        case += f", {options.technique}"
    entry = {
        "case": case,
        "optimizer": "SGD, momentum 0.9, fused",
        "heap": options.heap,
        **timed,
        **peaks(options),
        **weighed(bound),
    }
    if options.technique == "global":
        entry |= traffic(bound, timed["untied_seconds"], options.device)
    command = shlex.join(["python", *sys.argv])
    return {**entry, "command": command, "machine": machine(options)}


def record(entry: dict[str, Any], path: Path) -> None:
    """Put an entry in the place of the one of the same case and machine."""
    entries = json.loads(path.read_text()) if path.exists() else []
    same = {key: entry[key] for key in ("case", "heap", "machine")}
    others = [e for e in entries if not same.items() <= e.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*others, entry], indent=1) + "\n")


def keep_heap() -> None:
    """Start again with a heap that is kept, where that is to be had."""
    if sys.platform == "linux" and not KEPT_HEAP.items() <= os.environ.items():
        os.environ.update(KEPT_HEAP)
        os.execv(sys.executable, [sys.executable, *sys.argv])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=TENSORS, default="resnet50")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--technique", default="global", help="as in a spec")
    parser.add_argument("--ratio", type=float, default=2.0)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument(
        "--processes", type=int, default=3, help="to measure memory in; 0: do not"
    )
    parser.add_argument("--heap", choices=["kept", "system"], default="kept")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    parser.add_argument("--peak", choices=["tied", "untied"], help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.peak:
        print(peak(options))
        return
    if options.heap == "kept":
        keep_heap()
    entry = measure(options)
    record(entry, options.output)
    print(json.dumps(entry, indent=1))


if __name__ == "__main__":
    main()
