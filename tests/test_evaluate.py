"""Metrics over a split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wpack.data import TensorData
from wpack.devices import place
from wpack.errors import TrainingError
from wpack.evaluate import blaming, evaluate
from wpack.stopping import Interrupted, never
from wpack.tasks import Task

CPU = place("cpu")


class Sums(Task):
    """Rows whose metric is their own value; a dict and two arguments to the model."""

    def __init__(self, arguments: type = tuple) -> None:
        self.arguments = arguments

    def model(self) -> nn.Module:
        return Adder()

    def data(self, split: str) -> TensorData:
        return TensorData(torch.arange(7.0), torch.arange(7.0) * 10)

    def inputs(self, batch: Any) -> Any:
        if self.arguments is dict:
            return {"right": batch[1], "left": batch[0]}
        return tuple(batch)

    def metrics(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        some = outputs[outputs > 40]
        return {"sum": outputs, "some": some, "none": outputs[:0]}


class Adder(nn.Module):
    """left - right when training, left + right otherwise."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left - right if self.training else left + right


def measure(task: Task, batch_size: int = 3, **options: Any) -> dict[str, float]:
    """The metrics of a model in training mode."""
    model = task.model().train()
    metrics = evaluate(
        model,
        task,
        task.data("test"),
        batch_size=batch_size,
        placement=CPU,
        **options,
    )

    assert model.training
    return metrics


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
@pytest.mark.parametrize("arguments", [tuple, dict])
def test_mean_over_rows(batch_size: int, arguments: type) -> None:
    """Every row counts once, whatever the batches; metrics may skip rows."""
    expected = {"sum": 33.0, "some": 55.0, "none": 0.0}

    assert expected == measure(Sums(arguments), batch_size)


def test_empty_data() -> None:
    """A mean over nothing is refused."""
    with pytest.raises(TrainingError) as caught:
        evaluate(
            Adder(), Sums(), TensorData(torch.zeros(0)), batch_size=1, placement=CPU
        )

    assert "the data to evaluate on are empty" == str(caught.value)


def test_t02_stop() -> None:
    """The flag is asked before each batch; the model gets its mode back."""
    answers = [0, 0, 143]
    model = Adder().train()
    with pytest.raises(Interrupted) as caught:
        evaluate(
            model,
            Sums(),
            Sums().data("test"),
            batch_size=3,
            placement=CPU,
            stop=lambda: answers.pop(0),
        )

    assert 143 == caught.value.exit_code
    assert "stopped during evaluation" == str(caught.value)
    assert [] == answers
    assert model.training


def test_never() -> None:
    """The default flag never stops anything."""
    assert 0 == never()


def test_blame() -> None:
    """What a user's code raises is told with its place; our own errors pass."""
    with pytest.raises(TrainingError) as caught, blaming("step 3"):
        raise ValueError("bad shape")
    assert "step 3: ValueError: bad shape. --debug shows the traceback" == str(
        caught.value
    )
    assert isinstance(caught.value.__cause__, ValueError)

    with pytest.raises(TrainingError) as caught, blaming("step 3"):
        raise KeyError
    assert "step 3: KeyError. --debug shows the traceback" == str(caught.value)

    with pytest.raises(Interrupted), blaming("step 3"):
        raise Interrupted("stopped", exit_code=130)


def test_t10_out_of_memory() -> None:
    """A full device is told with what helps."""
    with pytest.raises(TrainingError) as caught, blaming("step 3"):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate …")

    assert (
        "step 3: the device is out of memory. Set a smaller finetune.batch_size or, for"
        " evaluation, finetune.eval_batch_size"
    ) == str(caught.value)


class Whole(Sums):
    """A metric of a batch."""

    def metrics(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        return {"mean": outputs.mean()}


def test_a_metric_of_a_whole_batch() -> None:
    """Batches of 3, 3 and 1 would weigh the same."""
    with pytest.raises(TrainingError) as caught:
        measure(Whole())

    assert (
        "metrics: the task's metric 'mean' is one value for a batch of 3, not one for"
        " each row. Return it before its mean is taken: batches may have other sizes"
    ) == str(caught.value)


class Masked(Task):
    """A classifier's targets, of which some do not count."""

    def model(self) -> nn.Module:
        return nn.Identity()

    def data(self, split: str) -> TensorData:
        logits = torch.eye(4) * 9
        return TensorData(logits, torch.tensor([0, -100, 2, -100]))


def test_targets_that_do_not_count() -> None:
    """They are in no metric; those that are there are all right."""
    found = measure(Masked())

    assert 1.0 == found["accuracy"]
    expected = math.log1p(3 * math.exp(-9))
    assert found["loss"] == pytest.approx(expected, rel=1e-3)


class Deriving(Sums):
    """A task that derives a metric as numpy and torch have numbers."""

    def derived(self, means: Any) -> Any:
        return {"one": np.float32(0.5), "two": torch.tensor(2.0)}


def test_derived_metrics_are_numbers() -> None:
    """Whatever kind of number the task gives, a log can hold it."""
    found = measure(Deriving())

    assert (0.5, 2.0) == (found["one"], found["two"])
    assert {float} == {type(value) for value in found.values()}
