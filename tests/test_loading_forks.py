"""Loaded weights and several processes: what they share, and what they do not (M05)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from tests.blobs import chain_of, needs
from tests.handmade import PER_PAGE, coded, plan_of, pooled, write
from tests.processes import ended
from tests.round_file import PAGES, PLAN, sums
from wpack import load_file
from wpack import open as open_pool_file
from wpack.backends import BACKENDS, CAN_MAP

pytestmark = pytest.mark.skipif(not CAN_MAP, reason="no rings on this system")

PROCESSES = 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the file ``w.wpool``."""
    write(tmp_path / "w.wpool", PLAN)
    return tmp_path


def share(backend: str, when: str) -> None:
    """Load a file in 64 processes, or load it and fork those; what they all have of it
    in memory at one time, in bytes, is printed."""
    tensors = load_file("w.wpool", backend=backend) if when == "before" else {}
    said, measure, answer, leave = (os.pipe() for _ in range(4))
    for _ in range(PROCESSES):
        if os.fork():
            continue
        tensors = tensors or load_file("w.wpool", backend=backend)
        os.write(said[1], f"{sums(tensors)}\n".encode())
        os.read(measure[0], 1)
        os.write(answer[1], f"{pss_nbytes()}\n".encode())
        os.read(leave[0], 1)
        os._exit(0)
    weights = lines(said[0])
    os.write(measure[1], bytes(PROCESSES))
    nbytes = sum(map(int, lines(answer[0]))) + pss_nbytes()
    os.write(leave[1], bytes(PROCESSES))
    print(len(set(weights)), nbytes)


def lines(pipe: int) -> list[str]:
    """What each of the processes writes to a pipe."""
    text = b""
    while text.count(b"\n") < PROCESSES:
        text += os.read(pipe, 1 << 16)
    return text.decode().splitlines()


def pss_nbytes() -> int:
    """What this process has of the file in memory, pages that are shared by n maps
    counted as an n-th."""
    total, ours = 0, False
    with open("/proc/self/smaps") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                ours = "w.wpool" in line or "memfd:wpack" in line
            elif ours and line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


@pytest.mark.parametrize(("backend", "when"), [("mmap", "after"), ("memfd", "before")])
def test_m05_64_processes_share_one_file(
    tmp_path: Path, backend: str, when: str
) -> None:
    """All of them together have the stored bytes in memory once, rings and all, whether
    each has opened the file or all come from one that had read it."""
    plan = plan_of(
        {"p": 8 * PAGES * PER_PAGE},
        pooled("wraps", (8 * PAGES, PER_PAGE), ("p", PER_PAGE)),
    )
    write(tmp_path / "w.wpool", plan)
    stored = (tmp_path / "w.wpool").stat().st_size
    done = ended(tmp_path, share, backend, when)

    assert (0, "") == (done.status, done.err)
    weights, nbytes = map(int, done.out.split())
    assert 1 == weights
    assert 0.9 * stored < nbytes < 1.05 * stored


def write_in_a_fork(backend: str) -> None:
    """Have a child write into its views, and see whether the parent's change."""
    with open_pool_file("w.wpool", backend=backend) as file:
        tensors = {name: file.get_tensor(name) for name in file}
    before = sums(tensors)
    child = os.fork()
    if not child:
        for tensor in tensors.values():
            tensor.fill_(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    found = sums(tensors)
    print(*(name for name in found if found[name] != before[name]))
    assert before == sums(load_file("w.wpool"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_m05_writes_after_a_fork(folder: Path, backend: str) -> None:
    """What a child writes into live views stays its own, but for pools in a ``memfd``,
    which are shared memory and documented to be; the file never changes."""
    done = ended(folder, write_in_a_fork, backend)

    assert (0, "") == (done.status, done.err)
    shared = ["wraps", "long", "tied"] if backend == "memfd" else []
    assert shared == done.out.split()


@needs("int, zstd")
def test_m05_decoded_pools_and_forks(tmp_path: Path) -> None:
    """A decoded pool in a ``memfd`` is shared with forks as one that was read is."""
    chain = chain_of("int, zstd")
    write(tmp_path / "w.wpool", coded(PLAN, {"p": chain}, (chain, ["bias"])))
    done = ended(tmp_path, write_in_a_fork, "memfd")

    assert (0, "") == (done.status, done.err)
    assert ["wraps", "long", "tied"] == done.out.split()


class Rows(torch.utils.data.Dataset[torch.Tensor]):
    """The rows of a tensor."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.tensor[index]


def read_in_workers(backend: str) -> None:
    """Read views in the worker processes of a data loader."""
    tensors = load_file("w.wpool", backend=backend)
    loader = DataLoader(
        Rows(tensors["long"]), 64, num_workers=2, multiprocessing_context="fork"
    )
    found = torch.cat(list(loader))
    assert torch.equal(found, tensors["long"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_m05_views_in_workers(folder: Path, backend: str) -> None:
    """The workers of a data loader see the same weights."""
    done = ended(folder, read_in_workers, backend)

    assert (0, "") == (done.status, done.err)
