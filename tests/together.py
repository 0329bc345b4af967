"""Several processes that torchrun would have started, from warm ones; and what tests
have them do."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests import jobs
from tests.processes import Ended, Job
from tests.tiny import Points, network, recipe
from wpack.batches import Batches
from wpack.coded import Coded
from wpack.data import TensorData
from wpack.devices import place
from wpack.errors import StorageError
from wpack.evaluate import evaluate
from wpack.processes import Processes, join
from wpack.sampling import Sampler
from wpack.training import Training


class Team:
    """Processes that share a run.

    Args:
        folder: Each has a folder of its own in it, ``0`` and so on.
        function: Called in each, with the arguments.
    """

    def __init__(
        self,
        folder: Path,
        function: Callable[..., object],
        *arguments: Any,
        count: int = 2,
    ) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        self.jobs = []
        for rank in range(count):
            own = folder / str(rank)
            own.mkdir(parents=True, exist_ok=True)
            member = (rank, count, port, function, arguments)
            self.jobs.append(Job(own, _member, *member))

    def wait(self) -> list[Ended]:
        """Wait for their ends."""
        return [job.wait() for job in self.jobs]


def answers(folder: Path, function: Callable[[Processes], object]) -> list[Any]:
    """What a function gives in each of two processes, as JSON values."""
    ends = Team(folder, _answer, function).wait()

    assert [0, 0] == [end.status for end in ends], [end.err for end in ends]
    return [json.loads(end.out) for end in ends]


def _member(
    rank: int, count: int, port: int, function: Callable[..., object], arguments: Any
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        os.environ[name] = str(rank)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        os.environ[name] = str(count)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["OMP_NUM_THREADS"] = "1"  # as torchrun says it
    function(*arguments)


def _answer(function: Callable[[Processes], object]) -> None:
    print(json.dumps(function(join("cpu"))), flush=True)


def messages(processes: Processes) -> dict[str, Any]:
    """What two processes tell each other."""
    own = torch.tensor([1.0, 3.0]) if processes.is_first else torch.tensor([5.0, 4.0])
    # A third of it thrice is another number in float32.
    same = torch.tensor([0.1], dtype=torch.float32)
    mean = own.clone()
    processes.average([mean, same])
    processes.spread([own, flags := torch.tensor([processes.is_first])])
    return {
        "rank": processes.rank,
        "rows": [processes.rows(5).start, processes.rows(5).stop],
        "agreed": processes.agree(0 if processes.is_first else 143),
        "gathered": processes.gather({"rank": processes.rank}),
        "mean": mean.tolist(),
        "same": torch.equal(same, torch.tensor([0.1])),
        "spread": [own.tolist(), flags.tolist()],
        "value": processes.by_first(lambda: f"of {processes.rank}"),
        "error": _refused(processes),
    }


def _refused(processes: Processes) -> tuple[str, str, str]:
    def fail() -> None:
        raise StorageError("is full", where=Path("disk"), hint="Buy another")

    try:
        processes.by_first(fail)
    except StorageError as error:
        return str(error), type(error).__name__, type(error.__cause__).__name__
    raise AssertionError


def gradients(processes: Processes) -> dict[str, Any]:
    """Gradients 1 and 3 of a pool, 2 and 6 of what is kept, one of a parameter that
    the second process alone has one of, and none of one that nobody has one of."""
    is_first = processes.is_first
    pool, kept, some, none = (nn.Parameter(torch.zeros(n)) for n in (3, 2, 1, 1))
    pool.grad = torch.full((3,), 1.0 if is_first else 3.0)
    kept.grad = torch.full((2,), 2.0 if is_first else 6.0)
    some.grad = None if is_first else torch.full((1,), 8.0)
    loss = torch.tensor(0.5 if is_first else 1.5, requires_grad=True)
    mean = processes.average_gradients([pool], [kept, some, none], loss)
    found = [p.grad if p.grad is None else p.grad.tolist() for p in (pool, kept, some)]
    return {"gradients": found, "none": none.grad is None, "loss": float(mean)}


class Uneven(Points):
    """Seven examples, and metrics of some rows only."""

    def metrics(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """The inputs themselves; some are in few batches."""
        values = batch[0][:, 0].double()
        return {"all": values, "large": values[values > 0.5]}


def evaluation(processes: Processes) -> list[dict[str, float]]:
    """Metrics with batches that are shared unequally, or that one has no rows of."""
    return [measure(size, processes) for size in (1, 3, 7)]


def measure(batch_size: int, processes: Processes) -> dict[str, float]:
    """Metrics of seven examples."""
    task = Uneven()
    data = task.data("test")
    assert data is not None
    return evaluate(
        network(),
        task,
        data,
        batch_size=batch_size,
        placement=place("cpu", "float32", processes),
        processes=processes,
    )


def step(processes: Processes) -> dict[str, Any]:
    """What the processes see in a step with augmentation and dropout, and what is the
    same in them afterwards."""
    wanted = recipe(ema=0.5, accumulate=1)
    student = network()
    training = Training(
        student.train(),
        Points(),
        wanted,
        teacher=None,
        storage={},
        coded=Coded(student),
        placement=place("cpu", "float32", processes),
        batches=Batches(Sampler(26, 6, 0), processes, 1),
        steps=4,
    )
    seen: list[Any] = []
    student[0].register_forward_hook(lambda _, given, out: seen.append(given[0]))
    student[3].register_forward_hook(lambda _, given, out: seen.append(out == 0))
    data = Points().data("train")
    assert isinstance(data, TensorData)
    loss = float(training.take_step(data))
    parameters = {n: p.tolist() for n, p in student.named_parameters()}
    own = student[1].running_mean.tolist()
    with training.as_stored():
        pass
    return {
        "inputs": seen[0].tolist(),
        "dropped": seen[1].tolist(),
        "loss": loss,
        "parameters": parameters,
        "running_mean": own,
        "levelled": student[1].running_mean.tolist(),
        "ema": training.mean.tensors["1.running_mean"].tolist() if training.mean else 0,
    }


def command_without(rank: int, at: int, *arguments: str) -> None:
    """The command, in which one process is killed at its n-th step."""
    if int(os.environ["RANK"]) == rank:
        jobs.killed_at("training", at)
    jobs.command(*arguments)


def command_signalled(rank: int, moment: jobs.Moment, *arguments: str) -> None:
    """The command, in which one process gets a signal."""
    jobs.signalled([moment] if int(os.environ["RANK"]) == rank else [], *arguments)
