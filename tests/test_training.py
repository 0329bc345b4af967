"""One step of training, and what a run's state is made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.tiny import Points, network, recipe, same, state_of, tied
from wpack.batches import Batches
from wpack.coded import Coded
from wpack.data import TensorData
from wpack.devices import place
from wpack.distill import divergence
from wpack.errors import TrainingError, UsageError
from wpack.processes import ALONE
from wpack.sampling import Sampler
from wpack.student import storage_dtypes
from wpack.tasks import Task
from wpack.training import Training


class Line(Task):
    """A weight of 2 on an input of 3 against a target of 1, by squared error."""

    def model(self) -> nn.Module:
        model = nn.Linear(1, 1, bias=False)
        nn.init.constant_(model.weight, 2.0)
        return model

    def data(self, split: str) -> TensorData:
        return TensorData(torch.full((1, 1), 3.0), torch.ones(1, 1))

    def loss(self, outputs: Any, batch: Any) -> Tensor:  # type: ignore[override]
        return functional.mse_loss(outputs, batch[1])


def training(
    student: nn.Module,
    task: Task | None = None,
    teacher: nn.Module | None = None,
    steps: int = 12,
    **options: Any,
) -> Training:
    """A run's beginning."""
    wanted = recipe(**options)
    return Training(
        student.train(),
        task or Points(),
        wanted,
        teacher=teacher,
        storage=storage_dtypes(student),
        coded=Coded(student),
        placement=place("cpu", wanted.precision),
        batches=Batches(
            Sampler(26 if task is None else 1, wanted.batch_size, wanted.seed),
            ALONE,
            wanted.accumulate,
        ),
        steps=steps,
    )


def line(**options: Any) -> Training:
    """A run on one weight, at a constant learning rate without momentum."""
    sgd = {"name": "sgd", "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0}
    defaults: dict[str, Any] = {
        "batch_size": 1,
        "optimizer": sgd,
        "schedule": {"name": "constant", "warmup": 0},
    }
    return training(Line().model(), Line(), **{**defaults, **options})


def weight(found: Training) -> float:
    """The one weight."""
    return float(found.student.get_parameter("weight").detach())


def take(found: Training, steps: int = 1) -> list[float]:
    """Steps on the task's training data; their losses."""
    data = found.task.data("train")
    return [float(found.take_step(data)) for _ in range(steps)]


def test_step_by_hand() -> None:
    """Loss (2·3 - 1)² = 25, gradient 2·5·3 = 30, weight 2 - 0.01·30."""
    found = line()

    assert [25.0] == take(found)
    assert 1.7 == pytest.approx(weight(found))
    assert 1 == found.step


def test_clip_by_hand() -> None:
    """A gradient of 30 is scaled to the norm asked for, a smaller one left alone."""
    clipped, free = line(clip_norm=3.0), line(clip_norm=31.0)
    take(clipped)
    take(free)

    assert 2 - 0.03 == pytest.approx(weight(clipped), abs=1e-5)
    assert 1.7 == pytest.approx(weight(free))


def test_schedule_by_hand() -> None:
    """Rates follow the schedule: two of warm-up, then down from the peak."""
    found = line(schedule={"name": "linear", "warmup": 2}, steps=4)
    rates = [(take(found), found.rate)[1] for _ in range(4)]

    assert [0.01 / 3, 0.02 / 3, 0.01, 0.005] == pytest.approx(rates)


def test_gradients_do_not_add_up() -> None:
    """Each step has the gradient of its own batch."""
    found = line()
    take(found, 2)

    assert 1.7 - 0.01 * 2 * (5.1 - 1) * 3 == pytest.approx(weight(found))


def test_mean_by_hand() -> None:
    """After a step the mean is 2/11 of the start and 9/11 of the weights."""
    found = line(ema=0.999)
    take(found)
    with found.as_stored() as stored:
        inside = weight(found)

    expected = 2 * 2 / 11 + 1.7 * 9 / 11
    assert expected == pytest.approx(inside)
    assert expected == pytest.approx(stored["weight"].item())
    assert 1.7 == pytest.approx(weight(found))


def test_label_smoothing_needs_a_loss_that_takes_it() -> None:
    """A task with a loss of its own is told what it lacks, not stopped in a step."""
    with pytest.raises(UsageError) as caught:
        line(label_smoothing=0.1)

    assert (
        "finetune.label_smoothing: the task's loss takes no label_smoothing"
    ) == str(caught.value)


@pytest.mark.parametrize(("weight", "smoothing"), [(0.0, 0.0), (0.3, 0.2), (1.0, 0.0)])
def test_distillation(weight: float, smoothing: float) -> None:
    """(1 - w) · cross-entropy + w · T² · KL to a teacher that sees the same batch,
    augmented alike, in eval mode."""
    student, teacher = network(0), network(1).train()
    found = training(
        student,
        teacher=teacher,
        distill={"weight": weight, "temperature": 2.0},
        label_smoothing=smoothing,
    )
    seen: list[Tensor] = []
    for model in (student, teacher):
        model.register_forward_hook(lambda _, inputs, out: seen.extend([*inputs, out]))
    (loss,) = take(found)
    same_points, logits, points, taught = seen
    data = Points().data("train")
    assert data is not None
    labels = data.tensors[1][torch.from_numpy(found.batches.sampler.indices(0))]
    task_loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    expected = (1 - weight) * task_loss + weight * divergence(logits, taught, 2.0)

    assert loss == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(same_points, points)
    assert not torch.equal(
        points, data.tensors[0][torch.from_numpy(found.batches.sampler.indices(0))]
    )
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


def test_teacher_is_not_called_without_distillation() -> None:
    """A recipe without distillation costs no second forward pass."""
    teacher = network(1)
    teacher.register_forward_pre_hook(lambda *_: pytest.fail("called"))
    found = training(network(), teacher=teacher)

    assert 1 == len(take(found))


def test_steps_do_not_touch_the_global_stream() -> None:
    """Dropout draws from the step's own stream, and what is drawn outside changes
    nothing."""
    first, second = training(tied()), training(tied())
    losses = take(first, 4)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    (one,) = take(second)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(7)

    assert losses == [one, *take(second, 3)]


def test_another_seed_is_another_run() -> None:
    """The seed decides order, augmentation and dropout."""
    assert take(training(tied(), seed=0), 2) != take(training(tied(), seed=1), 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_stored_weights_have_the_storage_dtype(dtype: str) -> None:
    """In the block the pool is rounded to what its file stores, kept tensors are as
    they are; afterwards everything is back."""
    found = training(tied(dtype))
    take(found, 2)
    before = state_of(found.student)
    with found.as_stored() as stored:
        inside = state_of(found.student)
        assert same(stored, inside)
    rounded = before["pools.main"].to(getattr(torch, dtype)).float()

    assert torch.equal(rounded, inside.pop("pools.main"))
    assert same(inside, {n: t for n, t in before.items() if n != "pools.main"})
    assert same(before, state_of(found.student))
    assert torch.equal(rounded, before["pools.main"]) == (dtype == "float32")


def test_storage_dtypes() -> None:
    """A tied student's plan tells them; another module is stored as it is."""
    found = storage_dtypes(tied("bfloat16"))

    assert torch.bfloat16 == found.pop("pools.main")
    assert {torch.float32, torch.int64} == set(found.values())
    assert set(tied().state_dict()) == {"pools.main", *found}
    assert {} == storage_dtypes(network())


def test_settle_for_the_best() -> None:
    """The result is what was kept; without anything kept, the last weights."""
    kept, last = training(tied("bfloat16")), training(tied("bfloat16"))
    take(kept)
    with kept.as_stored() as stored:
        kept.keep(stored)
    best = {name: t.clone() for name, t in kept.best.items()}
    take(kept)
    kept.settle()
    take(last, 2)
    with last.as_stored() as stored:
        expected = {name: t.clone() for name, t in stored.items()}
    last.settle()

    assert same(best, state_of(kept.student))
    assert same(expected, state_of(last.student))


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True}, "clip_norm": 0.5},
        {"optimizer": {"name": "adamw", "lr": 0.01}, "ema": 0.9},
        {"precision": "bfloat16"},
        {"precision": "float16"},
    ],
)
def test_restored_run_goes_on_alike(options: dict[str, Any]) -> None:
    """A new run with the state of another takes the same steps, bit for bit."""
    first, second = training(tied(), **options), training(tied(seed=4), **options)
    take(first, 3)
    first.keep(first.weights())
    tensors = {
        file: {name: t.detach().clone() for name, t in named.items()}
        for file, named in first.state().items()
    }
    second.restore(3, tensors, first.values())

    assert take(first, 3) == take(second, 3)
    assert same(state_of(first.student), state_of(second.student))
    assert same(first.best, second.best)
    with first.as_stored() as one, second.as_stored() as other:
        assert same(one, other)


def test_t08_weights_that_are_not_finite_are_not_saved() -> None:
    """A state that could only be gone on from in vain is refused, with the step; masks
    of -inf in buffers are no weights."""
    found = training(tied())
    found.student.register_buffer("mask", torch.tensor([-torch.inf]))
    take(found)
    found.state()
    with torch.no_grad():
        found.student.get_parameter("module.4.bias")[2] = torch.nan
    with pytest.raises(TrainingError) as caught:
        found.state()

    assert (
        "step 1: module.4.bias has weights that are NaN or infinite."
        " Lower finetune.optimizer.lr, or set finetune.clip_norm"
    ) == str(caught.value)
