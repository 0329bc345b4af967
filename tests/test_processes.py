"""Several processes: what they tell each other, and runs that they share."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests import jobs, together
from tests.together import Team, answers
from wpack import api, spec
from wpack.errors import UsageError
from wpack.events import Event
from wpack.processes import ALONE, Processes, join, started

DIGITS = Path(__file__).parent.parent / "samples" / "digits"
#: Two epochs of four steps, saved every other step; nothing that is random in it
#: depends on the processes.
SPEC = """
version: 1
pools: {main: {tensors: ["2.weight"], ratio: 1.5}}
finetune:
  task: tests.jobs:plain
  metric: loss
  epochs: 2
  batch_size: 6
  save_every: 2
  distill: {weight: 0.5, temperature: 2.0}
  optimizer: {name: adamw, lr: 0.03}
"""
#: What the first process of a pair refuses.
TOLD = "disk: is full. Buy another"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint and a spec."""
    torch.manual_seed(0)
    save_file(jobs.plain.model().state_dict(), tmp_path / "plain.safetensors")
    (tmp_path / "spec.yaml").write_text(SPEC)
    return tmp_path


def arguments(output: str = "out.wpool", *more: str) -> list[str]:
    """Begin the run, or go on with it, from a folder in the fixture's."""
    words = f"finetune ../plain.safetensors -s ../spec.yaml -o ../{output}"
    return [*words.split(), "--device", "cpu", "--resume", "auto", *more]


def alone(folder: Path, output: str, *overrides: str, **options: Any) -> list[Event]:
    """The run in this process."""
    wanted = spec.load(folder / "spec.yaml", overrides)
    found = api.finetune(
        folder / "plain.safetensors", wanted, folder / output, device="cpu", **options
    )
    return list(found)


def log(folder: Path, output: str = "out.wpool") -> list[dict[str, Any]]:
    """The records of a run's log."""
    lines = (folder / f"{output}.run" / "log.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(folder: Path, output: str = "out.wpool") -> dict[int, float]:
    """Step → loss."""
    steps = (r for r in log(folder, output) if r["event"] == "step")
    return {r["step"]: r["loss"] for r in steps}


def metrics(folder: Path, output: str = "out.wpool") -> dict[str, Any]:
    """What the run ended with."""
    (finished,) = (r for r in log(folder, output) if r["event"] == "finished")
    return {**finished["before"], **finished["after"]}


def saved(folder: Path) -> list[int]:
    """The steps whose states are there."""
    found = (
        re.fullmatch(r"step-(\d+)", p.name) for p in folder.glob("out.wpool.run/*")
    )
    return sorted(int(match[1]) for match in found if match)


def close(expected: Any, actual: Any) -> bool:
    """Whether numbers in mappings differ by 1e-5 at most."""
    if isinstance(expected, dict):
        return expected.keys() == actual.keys() and all(
            close(expected[key], actual[key]) for key in expected
        )
    return bool(abs(expected - actual) <= 1e-5)


def test_alone() -> None:
    """Without torchrun there is one process, which nothing is asked of."""
    gradient = torch.ones(2, requires_grad=True)
    loss = torch.tensor(3.0)

    assert join() is ALONE
    assert ALONE.is_first
    assert slice(0, 5) == ALONE.rows(5)
    assert 130 == ALONE.agreeing(lambda: 130)()
    assert ["x"] == ALONE.gather("x")
    assert "y" == ALONE.by_first(lambda: "y")
    assert loss is ALONE.average_gradients([gradient], [], loss)


@pytest.mark.parametrize("said", ["", "0", "two", "-1"])
def test_no_number_of_processes(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torchrun would not say is refused."""
    monkeypatch.setenv("WORLD_SIZE", said)
    with pytest.raises(UsageError) as caught:
        started()

    assert (
        f"WORLD_SIZE: should be a number of processes, not {said!r}."
        " torchrun sets it; unset it to train in one process"
    ) == str(caught.value)


def test_one_device_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process has a device of its own."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError) as caught:
        join("cuda:1")

    assert (
        "device 'cuda:1': 2 processes cannot have one device."
        " auto gives each a GPU of its own"
    ) == str(caught.value)


def test_fewer_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one GPU would wait for each other for ever."""
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UsageError) as caught:
        join("cuda")

    assert (
        "torchrun: 2 processes were started on a machine with 1 GPUs."
        " Start --nproc-per-node 1"
    ) == str(caught.value)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("rows", [0, 1, 7, 8])
def test_rows(count: int, rows: int) -> None:
    """Every row is one process's; no process has two more than another."""
    shares = [Processes(rank, count).rows(rows) for rank in range(count)]
    taken = [row for share in shares for row in range(rows)[share]]
    sizes = {share.stop - share.start for share in shares}

    assert list(range(rows)) == taken
    assert max(sizes) - min(sizes) <= 1


def test_messages(tmp_path: Path) -> None:
    """Both know what both have said; an error of the first is everybody's, and told
    by the first."""
    expected = {
        "agreed": 143,
        "gathered": [{"rank": 0}, {"rank": 1}],
        "mean": [3.0, 3.5],
        "same": True,
        "spread": [[1.0, 3.0], [True]],
        "value": "of 0",
    }
    first = {"rank": 0, "rows": [0, 2], "error": [TOLD, "StorageError", "NoneType"]}
    second = {"rank": 1, "rows": [2, 5], "error": [TOLD, "StorageError", "Elsewhere"]}

    assert [{**expected, **first}, {**expected, **second}] == (
        answers(tmp_path, together.messages)
    )


def test_gradients(tmp_path: Path) -> None:
    """Means over both; a gradient that one has not is zeros there, one that nobody has
    stays none."""
    expected = {
        "gradients": [[2.0, 2.0, 2.0], [4.0, 4.0], [4.0]],
        "none": True,
        "loss": 1.0,
    }

    assert [expected, expected] == answers(tmp_path, together.gradients)


def test_evaluation(tmp_path: Path) -> None:
    """Each example counts once, whatever the batches and whoever has them."""
    expected = [together.measure(size, ALONE) for size in (1, 3, 7)]

    for found in answers(tmp_path, together.evaluation):
        for one, other in zip(expected, found, strict=True):
            assert one == pytest.approx(other, abs=1e-12)


def test_step(tmp_path: Path) -> None:
    """Shares of one augmented batch, other dropout, the same weights; statistics of
    both once they are looked at."""
    alone = together.step(ALONE)
    one, other = answers(tmp_path, together.step)

    assert alone["inputs"] == one["inputs"] + other["inputs"]
    assert one["dropped"] != other["dropped"]
    assert (one["loss"], one["parameters"]) == (other["loss"], other["parameters"])
    assert one["running_mean"] != other["running_mean"]
    assert (one["levelled"], one["ema"]) == (other["levelled"], other["ema"])
    assert alone["running_mean"] == pytest.approx(one["levelled"], abs=1e-6)


@pytest.mark.parametrize(("accumulate", "gradual"), [(1, 0.0), (3, 0.5)])
def test_losses_are_those_of_one(accumulate: int, gradual: float, folder: Path) -> None:
    """One process, two, and micro-batches: the same losses and metrics; one speaks."""
    alone(folder, "alone.wpool", f"finetune.gradual={gradual}")
    more = {"accumulate": accumulate, "gradual": gradual}
    extra = [w for key in more for w in ("--set", f"finetune.{key}={more[key]}")]
    first, second = Team(folder, jobs.command, *arguments("out.wpool", *extra)).wait()

    assert [0, 0] == [first.status, second.status], first.err + second.err
    assert list(range(1, 9)) == list(losses(folder))
    assert close(losses(folder, "alone.wpool"), losses(folder))
    assert close(metrics(folder, "alone.wpool"), metrics(folder))
    assert "wrote ../out.wpool" in first.out
    assert ("", "") == (second.out, second.err)


def test_prepared_by_the_first(folder: Path) -> None:
    """What the first measures and calibrates before training is what all start from."""
    text = SPEC.replace("ratio: 1.5", "ratio: 1.5, projection: fisher")
    (folder / "spec.yaml").write_text(f"{text}  calibrate: 2\n")
    alone(folder, "alone.wpool")
    first, second = Team(folder, jobs.command, *arguments()).wait()

    assert [0, 0] == [first.status, second.status], first.err + second.err
    assert 1 == first.err.count("Fisher information of 26 training examples")
    assert "" == second.err
    assert close(losses(folder, "alone.wpool"), losses(folder))


def test_from_scratch(folder: Path) -> None:
    """The first draws the network that all of them train."""
    words = "finetune --from-scratch -s ../spec.yaml -o ../out.wpool --device cpu"
    first, second = Team(folder, jobs.command, *words.split()).wait()
    text = SPEC.replace("  distill: {weight: 0.5, temperature: 2.0}\n", "")
    (folder / "spec.yaml").write_text(text)
    wanted = spec.load(folder / "spec.yaml")
    list(api.finetune(None, wanted, folder / "alone.wpool", device="cpu"))

    assert [0, 0] == [first.status, second.status], first.err + second.err
    assert close(losses(folder, "alone.wpool"), losses(folder))


def test_accumulated_alone(folder: Path) -> None:
    """A batch in micro-batches is the batch."""
    alone(folder, "alone.wpool")
    alone(folder, "out.wpool", "finetune.accumulate=3")

    assert close(losses(folder, "alone.wpool"), losses(folder))


def test_unequal_shares(folder: Path) -> None:
    """A batch that cannot be shared equally is refused before anything is done."""
    with pytest.raises(UsageError) as caught:
        alone(folder, "out.wpool", "finetune.accumulate=4")

    assert (
        "finetune.batch_size: 6 examples are not 4 equal shares: 1 processes, 4"
        " micro-batches each. Set it to a multiple of 4"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("place", "at"), [("training", 3), ("evaluation", 2), ("saving", 1)]
)
@pytest.mark.parametrize("rank", [0, 1])
def test_t02_one_is_asked_to_stop(place: str, at: int, rank: int, folder: Path) -> None:
    """A SIGTERM to any of them stops all after the same step; they go on from there as
    if nothing had been."""
    if place == "saving" and rank == 1:
        pytest.skip("the first saves")
    alone(folder, "alone.wpool")
    moment = (place, at, signal.SIGTERM)
    ends = Team(folder, together.command_signalled, rank, moment, *arguments()).wait()

    assert [143, 143] == [end.status for end in ends], [end.err for end in ends]
    assert "stopped after step" in ends[0].err
    assert "" == ends[1].err
    if place != "evaluation":
        assert [max(losses(folder))] == saved(folder)[-1:]

    ends = Team(folder, jobs.command, *arguments()).wait()

    assert [0, 0] == [end.status for end in ends], [end.err for end in ends]
    assert close(losses(folder, "alone.wpool"), losses(folder))
    assert close(metrics(folder, "alone.wpool"), metrics(folder))


def test_t10_one_is_killed(folder: Path) -> None:
    """The others do not wait for ever: they say what happened, and what was saved is
    there."""
    begin = time.monotonic()
    first, second = Team(folder, together.command_without, 1, 6, *arguments()).wait()

    assert (1, -signal.SIGKILL) == (first.status, second.status)
    assert (
        "wpack: error: process 1 of 2: another process has ended, or has not answered"
        " for 30 minutes. It tells why where it could; --resume auto goes on from the"
        " last state that was saved"
    ) in first.err
    assert time.monotonic() - begin < 30
    assert [2, 4] == saved(folder)


def test_t08_all_lose_the_loss(folder: Path) -> None:
    """A loss that is not a number in any of them ends all, and is told of once."""
    text = SPEC.replace("tests.jobs:plain", "tests.jobs:exploding")
    (folder / "spec.yaml").write_text(text.replace("2.weight", "4.weight"))
    save_file(jobs.points.model().state_dict(), folder / "plain.safetensors")
    first, second = Team(folder, jobs.command, *arguments()).wait()

    assert [1, 1] == [first.status, second.status]
    assert "the loss is nan at step 7; the state of step 6 is kept" in first.err
    assert "" == second.err


def test_t05_other_number_of_processes(folder: Path) -> None:
    """A run of one is not resumed by two: its losses would not be quite its own."""
    alone(folder, "out.wpool")
    (folder / "out.wpool").unlink()
    first, second = Team(folder, jobs.command, *arguments()).wait()

    assert [2, 2] == [first.status, second.status]
    assert (
        "wpack: error: ../out.wpool.run: the run was started with other settings:"
        " processes: 1 in the run, 2 now. Start a run in another folder, or give"
        " --allow-mismatch"
    ) == first.err.strip()
    assert "" == second.err


def test_others_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``wpack eval`` is work for one process."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError) as caught:
        api.evaluate(folder / "plain.safetensors", "tests.jobs:plain")

    assert str(caught.value).startswith("torchrun: 2 processes were started")


def digits(output: Path) -> list[str]:
    """Twenty steps on the sample's vision transformer."""
    words = f"finetune {DIGITS}/vit.safetensors -s {DIGITS}/vit.yaml -o {output}"
    sets = ["finetune.epochs=null", "finetune.steps=20", "finetune.save_every=50"]
    return [
        *words.split(),
        *(word for each in sets for word in ("--set", each)),
        *("--device", "cpu", "--resume", "auto"),
    ]


def torchrun(folder: Path) -> subprocess.Popen[str]:
    """Two real processes on the sample."""
    run = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command = [sys.executable, *run, "-m", "wpack", *digits(folder / "out.wpool")]
    root = DIGITS.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def waited(process: subprocess.Popen[str]) -> Iterator[None]:
    """Until the run in a folder of the test has told of its third step."""
    while process.poll() is None:
        time.sleep(0.02)
        yield


@pytest.mark.timeout(600)  # a torchrun imports torch three times
def test_t03_torchrun(tmp_path: Path) -> None:
    """torchrun is told to stop, which it passes on; the run is saved, and resumed by
    torchrun it gives what one process gives."""
    pytest.importorskip("sklearn")
    stopped = torchrun(tmp_path)
    for _ in waited(stopped):
        if (tmp_path / "out.wpool.run" / "log.jsonl").exists() and (
            len(losses(tmp_path)) >= 3
        ):
            stopped.send_signal(signal.SIGTERM)
            break
    told, _ = stopped.communicate(timeout=250)
    (step,) = saved(tmp_path)

    assert f"stopped after step {step} of 20" in told
    assert 1 == told.count("wpack: error")

    resumed = torchrun(tmp_path)
    told, _ = resumed.communicate(timeout=250)
    assert 0 == resumed.returncode, told
    assert 1 == told.count(f"resuming at step {step}")
    assert 1 == told.count("wrote ")

    wanted = spec.load(
        DIGITS / "vit.yaml",
        ["finetune.epochs=null", "finetune.steps=20", "finetune.save_every=50"],
    )
    checkpoint = DIGITS / "vit.safetensors"
    list(api.finetune(checkpoint, wanted, tmp_path / "alone.wpool", device="cpu"))

    assert close(losses(tmp_path, "alone.wpool"), losses(tmp_path))
    assert close(metrics(tmp_path, "alone.wpool"), metrics(tmp_path))
