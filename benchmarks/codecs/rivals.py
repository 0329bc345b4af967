"""What other tools make of a float32 checkpoint: bytes of the file, what it scores.

    python -m benchmarks.codecs.rivals samples/digits/vit.safetensors \\
        --task samples.digits.task:vit
    python -m benchmarks.codecs.rivals resnet56.safetensors \\
        --task benchmarks.cifar10.task:resnet56 --only nncodec --only torchao --json

Nothing is trained: a rival gets the state dict, writes a file, reads it back, and the
float32 weights that come back are evaluated by wpack like any checkpoint.  A rival
that cannot be imported has a row that says why.

    pip install zipnn nncodec torchao      # zipnn and nncodec compile C and C++

What each is asked for, and what it needs to install, ``rival_tools.py`` says.

*changed* is the share of values that come back as others: 0 is lossless, and little
means that a rival left most of the network alone.  Seconds are the median of
`--repeats`; set OMP_NUM_THREADS=1 to compare them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import save, save_file

from benchmarks.codecs.rival_tools import RIVALS, Original, Rival, State
from wpack import api, weight_file
from wpack.errors import UsageError, WpackError
from wpack.limits import Limits
from wpack.student import as_tensor, fill
from wpack.tasks import make_task

Made = TypeVar("Made")
Evaluate = Callable[[State], dict[str, float]]


@dataclass(frozen=True)
class Row:
    """What one rival made of a checkpoint.

    Attributes:
        absent: Why it was not measured, and all else but its name is None.
        nbytes: Of its file.
        share: Of the bytes of the float32 safetensors file.
        changed: Share of the values that come back as others.
        metrics: The task's, of the weights that come back.
    """

    name: str
    version: str | None = None
    absent: str | None = None
    nbytes: int | None = None
    share: float | None = None
    changed: float | None = None
    encode_seconds: float | None = None
    decode_seconds: float | None = None
    metrics: dict[str, float] | None = None


def read(checkpoint: Path, task: str) -> Original:
    """A checkpoint that wpack can read, and the task's network with its values.

    Raises:
        UsageError: It has other tensors than float32 ones.
    """
    with weight_file.opened(checkpoint, limits=Limits()) as file:
        for info in file.infos:
            if info.dtype.name != "float32":
                raise UsageError(
                    f"{info.name} is {info.dtype.name}; rivals start from float32",
                    where=checkpoint,
                )
        state = {i.name: as_tensor(i, file.blocks(i.name)) for i in file.infos}
        return Original(state, fill(make_task(task).model(), file).eval())


def evaluator(task: str) -> Evaluate:
    """Metrics of a state dict by ``wpack eval``; of equal ones, only once."""
    known: dict[str, dict[str, float]] = {}

    def evaluate(state: State) -> dict[str, float]:
        digest = hashlib.sha256(save(state)).hexdigest()
        if digest not in known:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "decoded.safetensors"
                save_file(state, path)
                known[digest] = api.evaluate(path, task)
        return known[digest]

    return evaluate


def measure(
    rival: Rival, original: Original, evaluate: Evaluate, repeats: int = 3
) -> Row:
    """A rival's file of a checkpoint: bytes, seconds, and what comes back of it.

    Raises:
        WpackError: Other tensors come back.
    """
    reason = rival.absent()
    if reason is not None:
        return Row(rival.name, absent=reason)
    with redirect_stdout(sys.stderr):  # some chat
        data, encode_seconds = timed(lambda: rival.encode(original), repeats)
        state, decode_seconds = timed(lambda: rival.decode(data), repeats)
    expected = {name: tensor.shape for name, tensor in original.state.items()}
    if expected != {name: tensor.shape for name, tensor in state.items()}:
        raise WpackError("other tensors come back than went in", where=rival.name)
    state = {name: state[name].contiguous() for name in original.state}
    return Row(
        rival.name,
        version=metadata.version(rival.package),
        nbytes=len(data),
        share=len(data) / len(save(original.state)),
        changed=changed(original.state, state),
        encode_seconds=encode_seconds,
        decode_seconds=decode_seconds,
        metrics=evaluate(state),
    )


def timed(make: Callable[[], Made], repeats: int) -> tuple[Made, float]:
    """What is made, and the median seconds that it takes."""
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        made = make()
        seconds.append(time.perf_counter() - begin)
    return made, statistics.median(seconds)


def changed(before: State, after: State) -> float:
    """Share of the values that are not the same bits."""
    different = sum(
        int((a.view(torch.int32) != after[name].view(torch.int32)).sum())
        for name, a in before.items()
    )
    return different / sum(tensor.numel() for tensor in before.values())


def chosen(names: Sequence[str]) -> tuple[Rival, ...]:
    """The rivals whose names begin with one of these; all, if there is none.

    Raises:
        UsageError: A name begins none.
    """
    for name in names:
        if not any(rival.name.startswith(name) for rival in RIVALS):
            known = ", ".join(rival.name for rival in RIVALS)
            raise UsageError(
                f"no rival begins with {name!r}", hint=f"There are {known}"
            )
    return tuple(r for r in RIVALS if not names or r.name.startswith(tuple(names)))


def line(row: Row) -> str:
    """A row for people."""
    if row.absent is not None:
        return f"{row.name:30} absent: {row.absent}"
    metrics = "  ".join(f"{n} {value:.4f}" for n, value in (row.metrics or {}).items())
    return (
        f"{row.name:30} {row.version:8} {row.nbytes:>10,} {row.share:8.2%} "
        f"{row.changed:8.2%} {row.encode_seconds:7.3f} {row.decode_seconds:7.3f}  "
        f"{metrics}"
    )


HEADINGS = (
    f"{'rival':30} {'version':8} {'bytes':>10} {'of fp32':>8} {'changed':>8} "
    f"{'enc s':>7} {'dec s':>7}"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--task", required=True, help="as wpack eval takes it")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--repeats", type=int, default=3, help="of which the median is")
    parser.add_argument("--json", action="store_true", help="instead of a table")
    options = parser.parse_args(arguments)
    rivals = chosen(options.only)
    original, evaluate = read(options.checkpoint, options.task), evaluator(options.task)
    if not options.json:
        print(HEADINGS)
    rows = []
    for rival in rivals:
        rows.append(measure(rival, original, evaluate, options.repeats))
        if not options.json:
            print(line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
