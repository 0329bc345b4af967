"""Training from scratch: what stands in for a checkpoint, and that runs resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Points, network
from wpack import api, checkpoint, scratch
from wpack.errors import SpecError, UsageError
from wpack.events import Event, Finished, Note
from wpack.spec import FinetuneSpec, Spec, parse
from wpack.stopping import Interrupted
from wpack.tasks import Task, TensorData

TRAINING = """
version: 1
pools: {{main: {{tensors: ["{tensors}"], ratio: 1.5, technique: {technique}}}}}
finetune:
  task: tests.test_scratch:{task}
  epochs: 3
  batch_size: 8
  save_every: 2
  seed: {seed}
  optimizer: {{name: adamw, lr: 1e-2}}
  {more}
"""
points = Points()


class Shared(Task):
    """A network that holds one matrix under two names, and a counter."""

    def model(self) -> nn.Module:
        layers = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4))
        layers[2].weight = layers[0].weight
        return layers

    def data(self, split: str) -> TensorData | None:
        if split == "test":
            return None
        generator = torch.Generator().manual_seed(len(split))
        inputs: Tensor = torch.randn(16, 4, generator=generator)
        return TensorData(inputs, inputs.argmax(1))


shared = Shared()


def spec(**changes: Any) -> Spec:
    """Three epochs of the tiny network, one pool over its matrices."""
    values = {
        "tensors": "*.weight", "technique": "global", "task": "points", "seed": 3,
        "more": "",
    }  # fmt: skip
    return parse(TRAINING.format(**{**values, **changes}))


def digest(path: Path) -> str:
    """What two equal files have in common."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def config(output: Path) -> dict[str, Any]:
    """What the run of an output is made of."""
    found: dict[str, Any] = json.loads(Path(f"{output}.run/config.json").read_text())
    return found


def test_the_file_is_what_was_evaluated(tmp_path: Path) -> None:
    """The output is a sound ``.wpool`` like any other, and inflates."""
    output = tmp_path / "m.wpool"
    finished = list(api.finetune(None, spec(), output))[-1]

    assert isinstance(finished, Finished)
    assert api.verify(output) == ()
    measured = api.evaluate(output, "tests.test_scratch:points", batch_size=8)
    assert measured == pytest.approx(finished.after["test"], abs=1e-6)
    api.inflate(output, tmp_path / "m.safetensors")
    assert api.diff(output, tmp_path / "m.safetensors").max_abs == 0
    initial = tmp_path / "m.wpool.run" / "initial.safetensors"
    assert api.infos(output) == api.infos(initial)


@pytest.mark.parametrize(
    "technique",
    ["global", pytest.param("all_pairs", marks=pytest.mark.technique("all_pairs"))],
)
def test_an_interrupted_run_gives_the_same_file(tmp_path: Path, technique: str) -> None:
    """Stopped after each of the first seven steps and resumed, whatever the process has
    drawn before: by cmp."""
    whole, parts = tmp_path / "whole.wpool", tmp_path / "parts.wpool"
    wanted = spec(technique=technique, tensors="?.weight")
    list(api.finetune(None, wanted, whole))
    for step in range(7):
        torch.manual_seed(step)
        polls = iter([0])
        with pytest.raises(Interrupted):
            for _event in api.finetune(
                None,
                wanted,
                parts,
                resume="auto",
                stop=lambda polls=polls: next(polls, 130),
            ):
                pass

        assert not parts.exists()

    list(api.finetune(None, wanted, parts, resume="auto"))

    assert digest(whole) == digest(parts)


def test_the_seed_decides(tmp_path: Path) -> None:
    """It chooses kept weights and pools, and nothing else does."""
    outputs = [tmp_path / f"{i}.wpool" for i in range(3)]
    for output, seed in zip(outputs, (3, 3, 4), strict=True):
        torch.manual_seed(len(outputs) + seed)
        list(api.finetune(None, spec(seed=seed), output))
    initial = [Path(f"{o}.run/initial.safetensors") for o in outputs]

    assert digest(outputs[0]) == digest(outputs[1]) != digest(outputs[2])
    assert digest(initial[0]) == digest(initial[1]) != digest(initial[2])


def test_the_callers_random_numbers_are_left_alone() -> None:
    """Making the model takes none of them."""
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    scratch.new_model(points, 0)

    assert torch.equal(expected, torch.rand(3))


def test_what_is_shared_stays_shared(tmp_path: Path) -> None:
    """The stand-in lists a shared matrix once and once as its alias; the counter has
    its dtype."""
    output = tmp_path / "m.wpool"
    list(api.finetune(None, spec(task="shared", tensors="0.weight"), output))
    infos = {
        info.name: info
        for info in checkpoint.infos(tmp_path / "m.wpool.run/initial.safetensors")
    }

    assert infos["2.weight"].alias_of == "0.weight"
    assert infos["0.weight"].alias_of is None
    assert infos["1.num_batches_tracked"].dtype.name == "int64"
    assert shared.model().state_dict().keys() == infos.keys()
    plan = {tensor.name: tensor.kind for tensor in api.stats(output).tensors}
    assert (plan["0.weight"], plan["2.weight"]) == ("pooled", "alias")


def notes(events: Iterator[Event]) -> list[str]:
    """What a whole run tells beside its progress."""
    return [event.text for event in events if isinstance(event, Note)]


def test_labels_teach_alone(tmp_path: Path) -> None:
    """There is no original; a spec that says how to distil from it is answered."""
    silent, said = tmp_path / "a.wpool", tmp_path / "b.wpool"

    assert notes(api.finetune(None, spec(), silent)) == []
    distilling = spec(more="distill: {weight: 0.5}")
    assert notes(api.finetune(None, distilling, said)) == [
        "there is no checkpoint to learn from, so labels teach alone;"
        " finetune.distill.teacher names another teacher"
    ]
    assert config(silent)["recipe"]["distill"] is None
    assert config(said) == config(silent)


def test_a_named_teacher_teaches(tmp_path: Path) -> None:
    """It changes what is learnt, and nothing is noted."""
    torch.save(network(5).state_dict(), tmp_path / "teacher.pt")
    teacher = json.dumps(str(tmp_path / "teacher.pt"))
    taught, alone = tmp_path / "taught.wpool", tmp_path / "alone.wpool"
    list(api.finetune(None, spec(), alone))
    taught_by = spec(more=f"distill: {{weight: 0.9, teacher: {teacher}}}")

    assert notes(api.finetune(None, taught_by, taught)) == []
    assert digest(taught) != digest(alone)


def test_another_teacher_is_another_run(tmp_path: Path) -> None:
    """A run is not resumed with a teacher that has changed since."""
    path, output = tmp_path / "teacher.pt", tmp_path / "m.wpool"
    teacher = json.dumps(str(path))
    taught_by = spec(more=f"distill: {{weight: 0.9, teacher: {teacher}}}")
    for seed in (5, 6):
        torch.save(network(seed).state_dict(), path)
        output.unlink(missing_ok=True)
        if seed == 5:
            list(api.finetune(None, taught_by, output))
    with pytest.raises(UsageError, match="teacher_sha256"):
        list(api.finetune(None, taught_by, output, resume="auto"))


def test_a_start_that_came_no_further_is_no_run(tmp_path: Path) -> None:
    """A spec that does not fit leaves nothing in the way of the next, and no first
    weights of another seed."""
    output = tmp_path / "m.wpool"
    with pytest.raises(SpecError):
        list(api.finetune(None, spec(tensors="nothing", seed=4), output))

    assert [p.name for p in (tmp_path / "m.wpool.run").iterdir()] == [
        "initial.safetensors"
    ]
    list(api.finetune(None, spec(), output))
    list(api.finetune(None, spec(), tmp_path / "n.wpool"))
    assert digest(output) == digest(tmp_path / "n.wpool")


def test_a_run_that_lost_its_first_weights(tmp_path: Path) -> None:
    """A run of a checkpoint cannot be resumed from scratch, nor the reverse."""
    torch.save(network().state_dict(), tmp_path / "tiny.pt")
    projected, new = tmp_path / "m.wpool", tmp_path / "n.wpool"
    for source, output in ((tmp_path / "tiny.pt", projected), (None, new)):
        list(api.finetune(source, spec(), output))
        output.unlink()
    with pytest.raises(UsageError) as caught:
        list(api.finetune(None, spec(), projected, resume="auto"))

    assert str(caught.value) == (
        f"{projected}.run: the run was started from a checkpoint. Name the checkpoint,"
        " or start a run in another folder"
    )
    initial = tmp_path / "n.wpool.run" / "initial.safetensors"
    with pytest.raises(UsageError, match=r"from_scratch: true in the run, null now"):
        list(api.finetune(initial, spec(more="distill: null"), new, resume="auto"))


def test_a_teacher_is_absent_unless_named() -> None:
    """Only what the checkpoint would teach is left out."""
    named = FinetuneSpec.model_validate({"distill": {"teacher": "t.pt"}})
    off = FinetuneSpec.model_validate({"distill": None})

    assert scratch.without_absent_teacher(named) is named
    assert scratch.without_absent_teacher(off) is off
    assert scratch.without_absent_teacher(FinetuneSpec()).distill is None
