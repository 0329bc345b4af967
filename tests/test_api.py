"""The verbs on real files: what they promise together, bit for bit."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from torch import nn

from tests import independent_reader
from tests.tiny import Points, network
from wpack import api, loader
from wpack.errors import CheckpointError, TrainingError, UsageError
from wpack.events import Finished, Note
from wpack.spec import Spec, parse, spec_from_ratio
from wpack.stopping import Interrupted

TRAINING = """
version: 1
pools: {{main: {{tensors: ["*.weight"], ratio: 1.5, dtype: {dtype}}}}}
finetune:
  task: tests.test_api:points
  epochs: 3
  batch_size: 8
  save_every: 2
  optimizer: {{name: {optimizer}, lr: 1e-2}}
"""
points = Points()


def training_spec(dtype: str = "float32", optimizer: str = "adamw") -> Spec:
    """One pool over the tiny network's matrices."""
    return parse(TRAINING.format(dtype=dtype, optimizer=optimizer))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The tiny network, as a user saves it."""
    torch.save(network().state_dict(), tmp_path / "tiny.pt")
    return tmp_path / "tiny.pt"


def digest(path: Path) -> str:
    """What two equal files have in common."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


shapes = st.lists(
    st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    min_size=1,
    max_size=6,
).filter(lambda found: any(len(shape) >= 2 for shape in found))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shapes=shapes, ratio=st.floats(1, 6), seed=st.integers(0, 999))
def test_every_way_to_read_a_file_agrees(
    tmp_path: Path, shapes: list[tuple[int, ...]], ratio: float, seed: int
) -> None:
    """Inflated, loaded by each backend, and read by the independent reader: the same
    bits; kept tensors are the source's; the size is the one planned, to the byte."""
    random = np.random.default_rng(seed)
    source = {
        f"t{i}": random.standard_normal(shape).astype("<f4")
        for i, shape in enumerate(shapes)
    }
    plain, packed, back = (tmp_path / n for n in ("a.safetensors", "b.wpool", "c.st"))
    save_file(source, plain)
    spec = spec_from_ratio(ratio)
    planned = api.plan(plain, spec)
    made = api.compress(plain, spec, packed, force=True).stats
    api.inflate(packed, back, force=True)
    inflated, independent = load_file(back), independent_reader.load(packed)

    assert planned.stats.file_bytes == packed.stat().st_size
    assert made.file_bytes == packed.stat().st_size
    assert sum(t.stored_bytes for t in made.tensors) + made.header_bytes == (
        packed.stat().st_size
    )
    assert api.verify(packed) == ()
    assert api.diff(packed, back).same
    for backend in ("mmap", "memfd", "copy"):
        loaded = loader.load_file(packed, backend=backend)
        for tensor in made.tensors:
            bits = loaded[tensor.name].numpy().tobytes()

            assert bits == inflated[tensor.name].tobytes()
            assert bits == independent[tensor.name].tobytes()

    for tensor in made.tensors:
        if tensor.kind == "kept":
            assert inflated[tensor.name].tobytes() == source[tensor.name].tobytes()


def test_inflate_to_torch_keeps_the_views(checkpoint: Path, tmp_path: Path) -> None:
    """A .pt holds each pool once: tensors of one storage."""
    api.compress(checkpoint, training_spec(), tmp_path / "m.wpool")
    api.inflate(tmp_path / "m.wpool", tmp_path / "m.pt")
    loaded = torch.load(tmp_path / "m.pt", weights_only=True)

    assert api.diff(tmp_path / "m.wpool", tmp_path / "m.pt").same
    pointers = {
        loaded[name].untyped_storage().data_ptr() for name in ("4.weight", "6.weight")
    }
    assert len(pointers) == 1


SCRIPT = """
import sys, torch
torch.set_num_threads(int(sys.argv[3]))
from wpack import api
from wpack.spec import spec_from_ratio
api.compress(sys.argv[1], spec_from_ratio(1.7), sys.argv[2])
"""


def test_w13_same_bytes_whatever_the_threads_and_hash_seed(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Two processes unlike in both write the same file."""
    files = [tmp_path / "1.wpool", tmp_path / "2.wpool"]
    for file, threads in zip(files, ("1", "2"), strict=True):
        subprocess.run(
            [sys.executable, "-c", SCRIPT, checkpoint, file, threads],
            env={**os.environ, "PYTHONHASHSEED": threads, "OMP_NUM_THREADS": threads},
            check=True,
        )

    assert digest(files[0]) == digest(files[1])


def test_output_that_exists_is_refused_before_any_work(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Nothing is read, nothing is touched, and the hint says how."""
    output = tmp_path / "m.wpool"
    output.write_bytes(b"mine")
    with pytest.raises(UsageError) as caught:
        api.compress(tmp_path / "nothing.pt", training_spec(), output)

    assert str(caught.value) == f"{output}: exists. Pass --force to replace it"
    assert output.read_bytes() == b"mine"


def test_c10_non_finite_weights(tmp_path: Path) -> None:
    """Noted by tensor, or refused on request."""
    weights = {"w": np.full((4, 4), np.nan, "<f4"), "v": np.ones((4, 4), "<f4")}
    save_file(weights, tmp_path / "m.safetensors")
    made = api.compress(
        tmp_path / "m.safetensors", spec_from_ratio(2), tmp_path / "m.wpool"
    )

    assert made.notes == (
        "w: 16 weights are NaN or infinite; they spread to every weight that shares"
        " with them",
    )
    with pytest.raises(CheckpointError) as caught:
        api.compress(
            tmp_path / "m.safetensors",
            spec_from_ratio(2),
            tmp_path / "n.wpool",
            fail_on_nan=True,
        )

    assert str(caught.value) == "w: 16 weights are NaN or infinite"
    assert not (tmp_path / "n.wpool").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_finetune_writes_what_it_evaluated(
    checkpoint: Path, tmp_path: Path, dtype: str
) -> None:
    """The metrics of the file are the metrics of the run's result."""
    output = tmp_path / "m.wpool"
    events = list(api.finetune(checkpoint, training_spec(dtype), output))
    finished = events[-1]

    assert isinstance(finished, Finished)
    assert api.verify(output) == ()
    assert api.stats(output).file_bytes == output.stat().st_size
    measured = api.evaluate(output, "tests.test_api:points", batch_size=8)
    assert measured == pytest.approx(finished.after["test"], abs=1e-6)


def test_an_interrupted_run_gives_the_same_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    """Stopped after each of the run's first seven steps and resumed: by cmp."""
    whole, parts = tmp_path / "whole.wpool", tmp_path / "parts.wpool"
    list(api.finetune(checkpoint, training_spec(optimizer="sgd"), whole))
    for _ in range(7):
        polls = iter([0])
        with pytest.raises(Interrupted):
            for _event in api.finetune(
                checkpoint,
                training_spec(optimizer="sgd"),
                parts,
                resume="auto",
                stop=lambda polls=polls: next(polls, 130),
            ):
                pass

        assert not parts.exists()

    list(api.finetune(checkpoint, training_spec(optimizer="sgd"), parts, resume="auto"))

    assert digest(whole) == digest(parts)


def test_finetune_goes_on_from_a_wpool(checkpoint: Path, tmp_path: Path) -> None:
    """The pools start as the file has them; another plan is refused."""
    packed, output = tmp_path / "m.wpool", tmp_path / "n.wpool"
    api.compress(checkpoint, training_spec(), packed)
    events = list(api.finetune(packed, training_spec(), output))
    finished = events[-1]

    assert isinstance(finished, Finished)
    before = api.evaluate(packed, "tests.test_api:points", batch_size=8)
    assert before == pytest.approx(finished.before["test"], abs=1e-6)
    with pytest.raises(UsageError) as caught:
        list(
            api.finetune(
                packed,
                spec_from_ratio(3),
                tmp_path / "o.wpool",
                task="tests.test_api:points",
            )
        )

    assert str(caught.value) == (
        f"{packed}: the spec asks for other pools than the file has. Fine-tune the"
        " original checkpoint, or use the spec it was made from"
    )


def test_finetune_without_a_task(checkpoint: Path, tmp_path: Path) -> None:
    """The message says where to name one."""
    with pytest.raises(UsageError) as caught:
        list(api.finetune(checkpoint, spec_from_ratio(2), tmp_path / "m.wpool"))

    assert str(caught.value) == (
        "finetune: no task to train on. Set finetune.task in the spec, or pass --task"
    )


class Wider(Points):
    """A network that the checkpoint does not fit."""

    def model(self) -> nn.Module:
        """One layer too few, one too wide."""
        return nn.Sequential(nn.Linear(2, 9))


wider = Wider()


def test_s19_a_model_of_another_shape(checkpoint: Path, tmp_path: Path) -> None:
    """What is missing, and what has another shape, in one message."""
    with pytest.raises(TrainingError, match=r"^Sequential: the model is not the one"):
        api.evaluate(checkpoint, "tests.test_api:wider")


def test_notes_of_the_checkpoint_are_told(tmp_path: Path) -> None:
    """What was unwrapped comes first."""
    torch.save({"state_dict": network().state_dict()}, tmp_path / "m.pt")
    events = api.finetune(tmp_path / "m.pt", training_spec(), tmp_path / "m.wpool")

    assert next(events) == Note("took the tensors under 'state_dict'")
    events.close()
