"""The Task protocol, its example, and naming tasks."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from wpack import tasks
from wpack.data import ItemData, TensorData
from wpack.errors import TrainingError, UsageError
from wpack.finetune import finetune
from wpack.spec import FinetuneSpec
from wpack.tasks import Task, call_model, make_task, split, splits


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The documentation's example, as a file."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert tasks.__doc__ is not None
    block = tasks.__doc__.partition(".. code-block:: python\n\n")[2]
    lines = []
    for line in block.splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    text = textwrap.dedent("\n".join(lines)).rstrip() + "\n"
    (tmp_path / "rings.py").write_text(text)
    known = set(sys.modules)
    yield tmp_path
    mine = (name for name in set(sys.modules) - known if name.startswith("rings"))
    for name in mine:  # torch imports half of itself late, and only once
        del sys.modules[name]


def test_example_is_short(example: Path) -> None:
    """The whole of a task fits into thirty lines."""
    lines = (example / "rings.py").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= 30


def test_example_learns(example: Path) -> None:
    """The example trains: accuracy on held-out points rises well above chance."""
    task = make_task("./rings.py:Rings", {"hidden": 32}, example)
    torch.manual_seed(0)
    recipe = FinetuneSpec.model_validate(
        {
            "epochs": 20,
            "batch_size": 40,
            "optimizer": {"name": "adamw", "lr": 0.03},
            "distill": None,
        }
    )
    *_, finished = finetune(task.model(), task, recipe, device="cpu")

    assert finished.before["test"]["accuracy"] < 0.6
    assert finished.after["test"]["accuracy"] > 0.9


class Fixed(Task):
    """A task whose splits are given."""

    def __init__(self, **found: object) -> None:
        self.found = found

    def model(self) -> nn.Module:
        return nn.Identity()

    def data(self, split: str) -> object:
        return self.found.get(split)


fixed = Fixed()


def test_defaults_are_a_classifier() -> None:
    """Cross-entropy on (inputs, targets), accuracy, and a loss of which less is
    better."""
    task = Fixed()
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    batch = (torch.zeros(3), torch.tensor([0, 0, 0]))
    losses = -torch.log_softmax(logits, 1)[:, 0]
    metrics = task.metrics(logits, batch)

    assert "accuracy" == task.metric
    assert "loss" in task.lower_is_better
    assert batch[0] is task.inputs(batch)
    assert torch.allclose(losses.mean(), task.loss(logits, batch))
    assert [True, False, True] == metrics["accuracy"].tolist()
    assert torch.allclose(losses, metrics["loss"])
    assert ("samples", 3) == (task.unit, task.count(batch))


def test_batches_by_name() -> None:
    """Of a dict, labels are the targets; the model gets the rest by name."""
    batch = {"input_ids": torch.zeros(2), "labels": torch.ones(2)}

    assert {"input_ids": batch["input_ids"]} == Fixed().inputs(batch)
    assert batch["labels"] is Fixed().targets(batch)


def test_label_smoothing_by_hand() -> None:
    """Smoothing s gives every class s / classes of the label."""
    logits = torch.tensor([[2.0, 0.0]])
    batch = (torch.zeros(1), torch.tensor([0]))
    log_p = torch.log_softmax(logits, 1)[0]
    expected = -(0.9 + 0.05) * log_p[0] - 0.05 * log_p[1]

    assert torch.allclose(expected, Fixed().loss(logits, batch, label_smoothing=0.1))


def test_logits_of_wrapped_outputs() -> None:
    """Models that return an object with logits, as transformers' do, need no code."""
    logits = torch.zeros(2, 3)

    assert logits is Fixed().logits(SimpleNamespace(logits=logits), None)


@pytest.mark.parametrize(
    ("inputs", "expected"), [(5, 5), ((5, 2), 3), ({"b": 2, "a": 9}, 7)]
)
def test_call_model(inputs: object, expected: int) -> None:
    """A tuple gives positional arguments, a dict named ones."""

    class Minus(nn.Module):
        def forward(self, a: int, b: int = 0) -> int:
            return a - b

    assert expected == call_model(Minus(), inputs)


def test_splits() -> None:
    """The splits a task has, in order; datasets are wrapped."""
    values: list[Tensor] = [torch.zeros(1)]
    found = splits(Fixed(test=values, train=TensorData(torch.zeros(2))))

    assert ["train", "test"] == list(found)
    assert isinstance(found["test"], ItemData)
    assert split(Fixed(), "validation") is None


def test_no_training_data() -> None:
    """Without training data there is no training."""
    with pytest.raises(TrainingError) as caught:
        splits(Fixed(test=[1]))

    assert "data('train'): the task has no training data" == str(caught.value)


def test_a_task_may_be_an_object() -> None:
    """An attribute that is a task already is used as it is, and takes no options."""
    reference = f"{__name__}:fixed"
    module = sys.modules.setdefault(__name__, SimpleNamespace(fixed=fixed))  # type: ignore[arg-type]
    assert module.fixed is make_task(reference)

    with pytest.raises(UsageError) as caught:
        make_task(reference, {"size": 3})
    assert (
        f"{reference}: is a task already and takes no options, got size."
        " Name its class to set them"
    ) == str(caught.value)


def test_duck_tasks(tmp_path: Path) -> None:
    """What has a task's methods is a task, whatever it derives from."""
    names = ["model", "data", "inputs", "targets", "logits", "loss", "metrics"]
    names += ["derived", "count", "teacher"]
    methods = "\n".join(f"    def {name}(self, *a): pass" for name in names)
    fields = "metric, lower_is_better, unit = 'a', (), 'ducks'"
    text = f"class Duck:\n    {fields}\n{methods}\n"
    (tmp_path / "duck.py").write_text(text)

    assert "Duck" == type(make_task("./duck.py:Duck", folder=tmp_path)).__name__


def test_y11_not_a_task() -> None:
    """A factory of something else is told what it made."""
    with pytest.raises(UsageError) as caught:
        make_task("collections:OrderedDict")

    assert "collections:OrderedDict: gave an OrderedDict, not a wpack Task" == str(
        caught.value
    )


def test_abstract_methods_are_missed() -> None:
    """A task without data cannot be made."""

    class Half(Task):
        def model(self) -> nn.Module:
            return nn.Identity()

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_built_in_names() -> None:
    """The files of the folder are the tasks."""
    assert {"image-classification", "language-modeling"} <= set(tasks.names())


def test_unknown_name() -> None:
    """A name that is no task is told with those there are."""
    with pytest.raises(UsageError) as caught:
        make_task("image-clasification")

    assert (
        "task 'image-clasification': is no module:attribute, no ./file.py:attribute"
        f" and no task of wpack's. There are: {', '.join(tasks.names())}"
    ) == str(caught.value)
