"""A hostile input, the commands that meet it, and the one sentence that they say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wpack import codecs

#: Writes a case's files into an empty folder.
Maker = Callable[[Path], "Case"]

#: What every command is, by name: ``{file}`` is the input, ``{sound}`` a checkpoint
#: without faults, ``{task}`` a task for it.
COMMANDS: Mapping[str, str] = {
    "stats": "stats {file}",
    "stats --json": "stats {file} --json",
    "verify": "verify {file}",
    "inflate": "inflate {file} -o out.safetensors",
    "inflate to .pt": "inflate {file} -o out.pt",
    "diff": "diff {file} {sound}",
    "diff, the other way": "diff {sound} {file}",
    "plan": "plan {file} --ratio 2",
    "compress": "compress {file} --ratio 2 -o out.wpool",
    "spec init": "spec init {file} -o out.yaml",
    "eval": "eval {file} --task {task}",
    "finetune": "finetune {file} --ratio 2 -o out.wpool --task {task} --device cpu",
    "spec check": "spec check {file}",
    "plan with it": "plan {sound} -s {file}",
    "compress with it": "compress {sound} -s {file} -o out.wpool",
    "finetune with it": "finetune {sound} -s {file} -o out.wpool --task {task}",
    "spec check, both": "spec check {file} {sound}",
    "ratio": "compress {sound} --ratio {file} -o out.wpool",
    "task": "eval {sound} --task {file}",
}
#: Those that take a .wpool as one.
OF_POOL_FILES = (
    *("stats", "stats --json", "verify", "inflate", "inflate to .pt", "diff"),
    *("diff, the other way", "spec init", "eval", "finetune"),
)
#: Those that take a checkpoint that is no .wpool.
OF_CHECKPOINTS = (
    *("stats", "stats --json", "inflate", "inflate to .pt", "diff"),
    *("diff, the other way", "plan", "compress", "spec init", "eval", "finetune"),
)
#: Those that take a file of tensors of any kind.
EVERY = (*OF_CHECKPOINTS, "verify")
OF_SPECS = (
    *("spec check", "spec check, both", "plan with it", "compress with it"),
    "finetune with it",
)  #: Those that need torch, whatever the input.
OF_TORCH = ("inflate to .pt", "eval", "finetune", "finetune with it", "task")

ALREADY = (
    "is a .wpool already, not a checkpoint. Inflate it first: wpack inflate {} -o"
    " model.safetensors"
)


@dataclass(frozen=True)
class Case:
    """An input that must be refused.

    Attributes:
        file: Its name in its folder, as the commands get it.
        says: The sentence, word for word, place included.
        commands: Names of those that must say it.
        status: The exit status that goes with it.
        but: What other commands say, by name.
        seconds: Processor time that a command may take, beyond starting.
        mebibytes: Memory that it may take, likewise.
        torch: Whether every command needs torch to look at it.
    """

    file: str
    says: str
    commands: tuple[str, ...]
    status: int = 1
    but: Mapping[str, str] = field(default_factory=dict)
    torch: bool = False
    seconds: float = 1.0
    mebibytes: int = 200


def needing(*names: str) -> Callable[[Maker], Maker | None]:
    """A case of these codecs; none where one of them is gone."""
    there = set(codecs.names()).issuperset(names)
    return lambda maker: maker if there else None


def written(path: Path, data: bytes | str) -> str:
    """Write a file; returns its name."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path.name


def header_case(folder: Path, data: bytes, message: str) -> Case:
    """A file whose safetensors header no command can read, whatever for."""
    file = written(folder / "x.safetensors", data)
    return Case(file, f"{file}: {message}", EVERY)


def pool_case(folder: Path, data: bytes, message: str) -> Case:
    """A file that says it is a .wpool, and breaks the rules of one."""
    file = written(folder / "x.wpool", data)
    already = f"{file}: {ALREADY.format(file)}"
    others = dict.fromkeys(("plan", "compress"), already)
    return Case(file, f"{file}: {message}", OF_POOL_FILES, but=others)
