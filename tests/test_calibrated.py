"""``compress --calibrate`` and ``finetune.calibrate``: what files hold of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests import jobs
from tests.processes import ended
from tests.tiny import Points, network
from wpack import api, container, loader
from wpack.arrangement import POOL_PREFIX, coded
from wpack.calibrated import NOTHING, describe
from wpack.calibration import calibrate, observe
from wpack.data import TensorData
from wpack.devices import place
from wpack.errors import TrainingError, UsageError
from wpack.events import Evaluated, Event, Note
from wpack.feed import Feed
from wpack.spec import Spec, parse
from wpack.stopping import Interrupted
from wpack.tasks import Task

points = Points()
SPEC = """
version: 1
pools: {{main: {{tensors: ["?.weight"], ratio: 1.5, {pool}}}}}
{keep}
finetune:
  task: tests.test_calibrated:points
  epochs: 2
  batch_size: 8
  save_every: 2
  seed: 3
  optimizer: {{name: sgd, lr: 1e-2}}
"""
#: Every kept tensor that there is something to set right in.
CHANGED = {"0.bias", "1.running_mean", "1.running_var", "4.bias", "6.bias"}


def spec(pool: str = "dtype: float32", keep: str = "", **recipe: Any) -> Spec:
    """One pool over the tiny network's matrices."""
    more = "".join(f"  {key}: {value}\n" for key, value in recipe.items())
    return parse(SPEC.format(pool=pool, keep=keep) + more)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The tiny network, as a user saves it."""
    path = tmp_path / "tiny.safetensors"
    save_file(network().state_dict(), path)
    return path


CODED = {
    "plain": {},
    "bfloat16 pools": {"pool": "dtype: bfloat16"},
    "codecs": {"pool": "codecs: [int: 4, zstd]"},
    "codecs of kept tensors": {
        "pool": "codecs: [int: 4]",
        "keep": 'keep_codecs: {"?.bias": [int: 8], "?.running_mean": [bfloat16]}',
    },
}


@pytest.mark.parametrize("name", CODED)
def test_calibrated_is_the_network_of_the_file(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    """The file without calibration, opened, filled and calibrated by hand: the same
    kept tensors, as far as their codecs hold them; all else is untouched."""
    without, output = tmp_path / "without.wpool", tmp_path / "m.wpool"
    asked = spec(**CODED[name])
    api.compress(checkpoint, asked, without)
    made = api.compress(
        checkpoint, asked, output, calibrate="spec", calibrate_batches=3, device="cpu"
    )
    before, found = loader.load_file(without), loader.load_file(output)
    student = network()
    student.load_state_dict(before)
    with container.read(output) as file:
        plan, in_groups = file.plan, [g.infos for g in file.plan.groups]
    given = Feed(points, points.data("train"), 3, 8, 3, place("cpu"))
    expected = calibrate(student, plan, given, observe(network(), plan, given))
    grouped = {info.name for infos in in_groups for info in infos}

    assert set(expected) == set(made.calibrated) == CHANGED
    assert api.verify(output) == ()
    assert made.stats.file_bytes == output.stat().st_size
    for key, value in found.items():
        if key in grouped:
            wanted = expected.get(key, before[key]).detach()
            torch.testing.assert_close(value, wanted, rtol=0.01, atol=0.02)
        else:
            assert value.equal(expected.get(key, before[key])), key
    assert made.notes[-1] == (
        "5 kept tensors differ from the checkpoint, calibrated on 3 batches: 3 bias, 1"
        " running_mean, 1 running_var"
    )


def test_pools_are_those_of_the_projection(checkpoint: Path, tmp_path: Path) -> None:
    """Bit for bit, coded or not."""
    asked = spec(**CODED["codecs of kept tensors"])
    stored = []
    for name, task in (("without", None), ("with", "tests.test_calibrated:points")):
        output = tmp_path / f"{name}.wpool"
        api.compress(checkpoint, asked, output, calibrate=task)
        with container.read(output) as file:
            assert POOL_PREFIX + "main" in coded(file.plan)
            entry = file.pool_entry("main")
            stored.append(file.read_range(entry, 0, entry.numel))

    assert np.array_equal(*stored)


def test_the_same_file_each_time(checkpoint: Path, tmp_path: Path) -> None:
    """Whatever random numbers the process has drawn."""
    files = [tmp_path / "1.wpool", tmp_path / "2.wpool"]
    for file in files:
        torch.rand(3)
        api.compress(checkpoint, spec(), file, calibrate="spec")

    assert files[0].read_bytes() == files[1].read_bytes()


def test_progress_ends_at_its_total(checkpoint: Path, tmp_path: Path) -> None:
    """Bytes projected, and twice the network's for each batch."""
    seen: list[tuple[int, int, str]] = []
    api.compress(
        checkpoint,
        spec(),
        tmp_path / "m.wpool",
        calibrate="spec",
        calibrate_batches=2,
        progress=lambda *told: seen.append(told),
    )

    assert seen[-1][0] == seen[-1][1]
    assert [what for _, _, what in seen] == ["projecting"] * 3 + ["calibrating"] * 4


class Measured(Points):
    """Has statistics, and no bias behind a matrix that is pooled."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 8, bias=False), nn.BatchNorm1d(8))


measured = Measured()


def test_statistics_alone(tmp_path: Path) -> None:
    """The original is not asked, and progress still ends at its total."""
    save_file(measured.model().state_dict(), tmp_path / "m.safetensors")
    seen: list[tuple[int, int, str]] = []
    made = api.compress(
        tmp_path / "m.safetensors",
        parse('version: 1\npools: {main: {tensors: ["0.weight"], ratio: 2}}\n'),
        tmp_path / "m.wpool",
        calibrate="tests.test_calibrated:measured",
        calibrate_batches=2,
        progress=lambda *told: seen.append(told),
    )

    assert ("1.running_mean", "1.running_var") == made.calibrated
    assert seen[-1][0] == seen[-1][1]
    assert [what for _, _, what in seen] == ["projecting"] + ["calibrating"] * 3


class Bare(Task):
    """A network of matrices only."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 3, bias=False))

    def data(self, split: str) -> TensorData:
        return TensorData(torch.ones(4, 2))


bare = Bare()


def test_nothing_to_calibrate(tmp_path: Path) -> None:
    """It is said, and the file is the plain projection."""
    save_file({"0.weight": torch.ones(3, 2)}, tmp_path / "m.safetensors")
    asked = parse('version: 1\npools: {main: {tensors: ["*"], ratio: 2}}\n')
    files = [tmp_path / "1.wpool", tmp_path / "2.wpool"]
    api.compress(tmp_path / "m.safetensors", asked, files[0])
    made = api.compress(
        tmp_path / "m.safetensors",
        asked,
        files[1],
        calibrate="tests.test_calibrated:bare",
    )

    assert (NOTHING, ()) == (made.notes[-1], made.calibrated)
    assert files[0].read_bytes() == files[1].read_bytes()


class Attending(nn.Module):
    """Multi-head attention, which uses its last matrix without calling the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        mixed, _ = self.attention(tokens, tokens, tokens)
        return self.head(mixed)


class Sentences(Bare):
    """Rows of tokens."""

    def model(self) -> nn.Module:
        return Attending()

    def data(self, split: str) -> TensorData:
        generator = torch.Generator().manual_seed(0)
        return TensorData(torch.randn(6, 5, 4, generator=generator))


sentences = Sentences()


def test_a_layer_that_is_not_called(tmp_path: Path) -> None:
    """It is told of, and what can be corrected is."""
    save_file(Attending().state_dict(), tmp_path / "m.safetensors")
    made = api.compress(
        tmp_path / "m.safetensors",
        parse('version: 1\npools: {main: {tensors: ["*weight"], ratio: 2}}\n'),
        tmp_path / "m.wpool",
        calibrate="tests.test_calibrated:sentences",
    )

    assert ("head.bias",) == made.calibrated
    assert made.notes[-2:] == (
        "attention.out_proj: used without being called, the bias stays as it is",
        "1 kept tensor differs from the checkpoint, calibrated on 20 batches: 1 bias",
    )


def test_describe() -> None:
    """One tensor and one batch are singular."""
    assert (
        "1 kept tensor differs from the checkpoint, calibrated on 1 batch: 1 bias"
        == describe(["a.bias"], 1)
    )


def test_too_large_for_its_dtype(tmp_path: Path) -> None:
    """A variance that float16 has no number for is refused, and nothing is written."""
    state = {
        name: t.half() if t.is_floating_point() else t
        for name, t in network().state_dict().items()
    }
    state["0.weight"] *= 20000
    save_file(state, tmp_path / "m.safetensors")
    with pytest.raises(TrainingError) as caught:
        api.compress(
            tmp_path / "m.safetensors", spec(), tmp_path / "m.wpool", calibrate="spec"
        )

    assert str(caught.value).endswith(
        "would hold values that are too large for float16. Compress a checkpoint of a"
        " wider dtype"
    )
    assert not (tmp_path / "m.wpool").exists()


class Untrained(Points):
    """No training data."""

    def data(self, split: str) -> TensorData | None:
        return None if split == "train" else super().data(split)


untrained = Untrained()


def test_refused(checkpoint: Path, tmp_path: Path) -> None:
    """A spec without a task, and a task without data."""
    without = parse('version: 1\npools: {main: {tensors: ["?.weight"], ratio: 2}}\n')
    output = tmp_path / "m.wpool"
    with pytest.raises(UsageError) as caught:
        api.compress(checkpoint, without, output, calibrate="spec")

    assert str(caught.value) == (
        "finetune.task: the spec names no task to calibrate on. Set it, or name the"
        " task: --calibrate MODULE:ATTR"
    )
    task = "tests.test_calibrated:untrained"
    with pytest.raises(TrainingError) as found:
        api.compress(checkpoint, without, output, calibrate=task)

    assert str(found.value) == "data('train'): the task has no training data"
    with pytest.raises(UsageError) as scratch:
        list(api.finetune(None, spec(calibrate=2), output))

    assert str(scratch.value) == (
        "finetune.calibrate: there is no trained network to calibrate. Set it to 0, or"
        " start from a checkpoint"
    )
    assert not output.exists()


def first(events: list[Event]) -> float:
    """The loss on validation data before the first step."""
    return next(
        event.metrics["loss"]
        for event in events
        if isinstance(event, Evaluated) and event.split == "validation"
    )


@pytest.mark.parametrize("name", CODED)
def test_training_starts_calibrated(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    """Step 0 is not what it is without, the note says why, and a run that is stopped
    anywhere, in calibration too, ends as one that is not."""
    without = list(api.finetune(checkpoint, spec(**CODED[name]), tmp_path / "0.wpool"))
    asked = spec(**CODED[name], calibrate=2)
    whole, parts = tmp_path / "1.wpool", tmp_path / "2.wpool"
    events = list(api.finetune(checkpoint, asked, whole))
    notes = [event.text for event in events if isinstance(event, Note)]
    # Two passes of two batches are asked for first.
    for polls in ([0], [0, 0, 0], [0] * 5, [0] * 9):
        answers = iter(polls)
        with pytest.raises(Interrupted):
            list(
                api.finetune(
                    checkpoint,
                    asked,
                    parts,
                    resume="auto",
                    stop=lambda answers=answers: next(answers, 130),
                )
            )
    list(api.finetune(checkpoint, asked, parts, resume="auto"))

    assert first(events) != first(without)
    assert notes[-1].startswith("5 kept tensors differ from the checkpoint, calibrated")
    assert whole.read_bytes() == parts.read_bytes()


def test_another_count_is_another_run(checkpoint: Path, tmp_path: Path) -> None:
    """It is not gone on with by mistake."""
    list(api.finetune(checkpoint, spec(calibrate=1), tmp_path / "1.wpool"))
    with pytest.raises(UsageError) as caught:
        list(
            api.finetune(
                checkpoint,
                spec(calibrate=2),
                tmp_path / "2.wpool",
                resume=str(tmp_path / "1.wpool.run"),
            )
        )

    assert "recipe.calibrate: 1 in the run, 2 now" in str(caught.value)


@pytest.mark.parametrize(("number", "status"), [(2, 130), (15, 143)])
def test_a_signal_leaves_no_file(
    checkpoint: Path, tmp_path: Path, number: int, status: int
) -> None:
    """A real process that is ended in calibration, with the status of its signal."""
    words = ["compress", checkpoint.name, "--ratio", "2", "-o", "m.wpool"]
    task = ["--calibrate", "tests.jobs:points", "--device", "cpu"]
    moments = [("calibration", 3, number)]
    done = ended(tmp_path, jobs.signalled, moments, *words, *task)

    assert status == done.status
    assert "Traceback" not in done.err
    assert "" == done.out
    assert [] == [p.name for p in tmp_path.iterdir() if "wpool" in p.name]


def test_command(checkpoint: Path, tmp_path: Path) -> None:
    """A real process says on stdout how many tensors were changed."""
    words = ["compress", checkpoint.name, "--ratio", "2", "-o", "m.wpool"]
    task = ["--calibrate", "tests.jobs:points", "--calibrate-batches", "2"]
    done = ended(tmp_path, jobs.command, *words, *task, "--device", "cpu")

    assert 0 == done.status, done.err
    assert "5 kept tensors calibrated; all others are the checkpoint's" in done.out
    assert "calibrated on 2 batches: 3 bias, 1 running_mean, 1 running_var" in done.err
    state = load_file(checkpoint)
    found = loader.load_file(tmp_path / "m.wpool")
    kept = [name for name in state if not name.endswith(".weight")]

    assert CHANGED == {name for name in kept if not state[name].equal(found[name])}
