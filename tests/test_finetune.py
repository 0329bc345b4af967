"""The loop: what it yields, what it leaves, and how it ends."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Points, Still, network, recipe, same, state_of, tied
from wpack.data import TensorData
from wpack.devices import place
from wpack.errors import StorageError, TrainingError, UsageError
from wpack.evaluate import evaluate
from wpack.events import Evaluated, Event, Finished, Note, Saved, Step
from wpack.finetune import finetune
from wpack.runs import Run
from wpack.tasks import split
from wpack.tie import Tied


def train(
    student: nn.Module, task: Points | None = None, **options: Any
) -> list[Event]:
    """All events of a run; recipe fields and the loop's own arguments."""
    own = ("teacher", "run", "config", "storage", "stop")
    arguments = {key: options.pop(key) for key in own if key in options}
    wanted = recipe(**options)
    return list(finetune(student, task or Points(), wanted, device="cpu", **arguments))


def outline(events: list[Event]) -> list[str]:
    """The events, in short."""
    words = []
    for event in events:
        detail = getattr(event, "split", getattr(event, "step", ""))
        words.append(f"{type(event).__name__} {detail}".strip())
    return words


def measured(student: nn.Module, name: str) -> dict[str, float]:
    """A split's metrics of a student as it is."""
    data = split(Points(), name)
    assert data is not None
    return evaluate(student, Points(), data, batch_size=6, placement=place("cpu"))


def test_events_in_order(tmp_path: Path) -> None:
    """Evaluation of all before the first step, then steps, and at each epoch's end an
    evaluation and a save; at last the test split with the best weights."""
    events = train(tied(), run=Run(tmp_path / "a.run"), epochs=2, save_every=3)

    assert [
        "Evaluated validation",
        "Evaluated test",
        "Step 1",
        "Step 2",
        "Step 3",
        "Saved 3",
        "Step 4",
        "Evaluated validation",
        "Step 5",
        "Step 6",
        "Saved 6",
        "Step 7",
        "Step 8",
        "Evaluated validation",
        "Saved 8",
        "Evaluated test",
        "Finished " + outline(events)[-1].split()[1],
    ] == outline(events)


def test_steps_tell_where_they_are() -> None:
    """Steps count from 1, epochs are fractions, rates follow the schedule."""
    steps = [e for e in train(tied(), epochs=2) if isinstance(e, Step)]

    assert list(range(1, 9)) == [s.step for s in steps]
    assert {8} == {s.steps for s in steps}
    assert [0.25, 0.5, 0.75, 1.0] == [s.epoch for s in steps[:4]]
    assert all(s.per_second > 0 and s.seconds_left >= 0 for s in steps)
    assert {"samples"} == {s.unit for s in steps}
    assert 0 == steps[-1].seconds_left
    # 0.05 of 8 steps is no warm-up; the cosine starts at the peak
    assert [0.1, 0.05] == pytest.approx([steps[0].rate, steps[4].rate])


def test_steps_instead_of_epochs() -> None:
    """A run may end in the middle of an epoch, and is evaluated there."""
    events = outline(train(tied(), epochs=None, steps=5))

    assert ["Step 4", "Evaluated validation", "Step 5", "Evaluated validation"] == (
        events[5:9]
    )


def test_it_learns() -> None:
    """A tied student gets better at what it is trained on."""
    events = train(tied(), Points(train=300, test=100), epochs=8, batch_size=20)
    finished = events[-1]

    assert isinstance(finished, Finished)
    assert finished.before["test"]["accuracy"] < 0.5
    assert finished.after["test"]["accuracy"] > 0.75


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_result_is_what_was_evaluated(dtype: str, ema: float | None) -> None:
    """The student ends with the weights whose metrics were best, and rounding them to
    the pool's dtype changes nothing."""
    student = tied(dtype)
    events = train(student, ema=ema, optimizer={"name": "adamw", "lr": 0.03}, epochs=4)
    finished = events[-1]
    validated = [
        e for e in events if isinstance(e, Evaluated) and e.split == "validation"
    ]
    best = max(e.metrics["accuracy"] for e in validated)
    pool = student.backing()["main"]

    assert isinstance(finished, Finished)
    assert best == finished.after["validation"]["accuracy"]
    assert finished.step == next(
        e.step for e in validated if e.metrics["accuracy"] == best
    )
    assert finished.step == [e.step for e in validated if e.is_best][-1]
    assert finished.after == {n: measured(student, n) for n in ("validation", "test")}
    assert torch.equal(pool, pool.to(getattr(torch, dtype)).float())


def test_without_validation_the_last_weights_count() -> None:
    """Nothing is chosen by the test split."""
    student = tied()
    events = train(student, Points(train=26, test=7))
    finished = events[-1]

    assert isinstance(finished, Finished)
    assert 12 == finished.step
    assert ["test"] == list(finished.after)
    assert finished.after["test"] == measured(student, "test")
    assert not any(e.is_best for e in events if isinstance(e, Evaluated))
    assert 4 == sum(isinstance(e, Evaluated) for e in events)


def test_with_training_data_only() -> None:
    """A task without anything to evaluate on is trained all the same."""
    events = train(tied(), Points(train=26))

    assert [f"Step {i}" for i in range(1, 13)] == outline(events)[:-1]
    assert Finished(12, "accuracy", {}, {}) == events[-1]


def test_another_metric() -> None:
    """The recipe may choose by another of the task's metrics, whichever way it runs."""
    events = train(tied(), metric="loss", epochs=6)
    losses = [
        e.metrics["loss"]
        for e in events
        if isinstance(e, Evaluated) and e.split == "validation"
    ]
    finished = events[-1]

    assert isinstance(finished, Finished)
    assert "loss" == finished.metric
    assert min(losses) == finished.after["validation"]["loss"]


def test_unknown_metric() -> None:
    """A metric that the task lacks ends the run at its first evaluation."""
    with pytest.raises(UsageError) as caught:
        train(tied(), metric="f1")

    assert (
        "finetune.metric: the task has no metric 'f1'. It has: accuracy, loss"
    ) == str(caught.value)


def test_untied_student() -> None:
    """The same loop trains a plain module, for comparison."""
    student = network()
    before = state_of(student)
    events = train(student, Points(train=26))

    assert isinstance(events[-1], Finished)
    assert not isinstance(student, Tied)
    assert not same(before, state_of(student))


def test_storage_of_an_untied_student() -> None:
    """Its storage dtypes may be given; the result is rounded to them."""
    student = network()
    train(student, Points(train=26), storage={"4.weight": torch.float16})
    state = student.state_dict()

    assert torch.equal(state["4.weight"], state["4.weight"].half().float())
    assert not torch.equal(state["0.weight"], state["0.weight"].half().float())


def test_teacher_is_needed_for_distillation() -> None:
    """A recipe that distils from nobody is refused, not silently weakened."""
    with pytest.raises(UsageError) as caught:
        train(tied(), distill={})

    assert (
        "finetune.distill: there is no teacher to distil from."
        " Set it to null to learn from labels only"
    ) == str(caught.value)


def test_teacher_is_not_changed() -> None:
    """Distillation trains the student alone."""
    teacher = network(3)
    before = state_of(teacher)
    train(tied(), teacher=teacher, distill={"weight": 1.0})

    assert same(before, state_of(teacher))


def test_log_has_every_event(tmp_path: Path) -> None:
    """The log of a run is its events."""
    run = Run(tmp_path / "a.run")
    events = train(tied(), run=run)
    lines = (tmp_path / "a.run" / "log.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["time"]

    assert [event.record() for event in events] == records


class Exploding(Points):
    """The loss is not a number at the fifth step."""

    def __init__(self, **counts: int) -> None:
        super().__init__(**counts)
        self.calls = 0

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
        self.calls += 1
        loss = super().loss(outputs, batch)
        return loss * math.nan if self.calls == 5 else loss


def test_t08_nan_loss(tmp_path: Path) -> None:
    """A loss that is no number ends the run at its step, and the last good state is
    still there."""
    folder = tmp_path / "a.run"
    with pytest.raises(TrainingError) as caught:
        train(tied(), Exploding(), run=Run(folder))

    assert (
        f"{folder}: the loss is nan at step 5; the state of step 4 is kept."
        " Lower finetune.optimizer.lr, or set finetune.clip_norm"
    ) == str(caught.value)
    assert (folder / "step-000004" / "MANIFEST.json").exists()
    with Run(folder, resume=True):
        pass  # and the folder is free again


def test_t08_nan_loss_without_a_run() -> None:
    """Without a run folder there is nothing kept to tell of."""
    with pytest.raises(TrainingError, match=r"^the loss is nan at step 5\. Lower"):
        train(tied(), Exploding())


class Failing(Points):
    """A task whose own code fails."""

    def inputs(self, batch: Any) -> Any:
        raise KeyError("image")


def test_failing_task() -> None:
    """What a user's task raises is told with where it happened."""
    with pytest.raises(TrainingError) as caught:
        train(tied(), Failing())
    assert "evaluation: KeyError: 'image'. --debug shows the traceback" == str(
        caught.value
    )

    with pytest.raises(TrainingError) as caught:
        train(tied(), Failing(train=26))
    assert "step 1: KeyError: 'image'. --debug shows the traceback" == str(caught.value)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"train": 0}, "train: the training data are empty"),
        ({"test": 5}, "data('train'): the task has no training data"),
        ({"train": 26, "validation": 0}, "the data to evaluate on are empty"),
        (
            {"train": 5},
            "train: batch_size is 6, but the training data have 5 examples."
            " Set finetune.batch_size to 5 or less",
        ),
    ],
)
def test_t08_data(counts: dict[str, int], expected: str) -> None:
    """Data that cannot be trained or evaluated on are refused in words."""
    with pytest.raises(TrainingError) as caught:
        train(tied(), Points(**counts))

    assert expected == str(caught.value)


class FullDisk(Run):
    """A run whose saves fail at some steps."""

    def __init__(self, folder: Path, failing: tuple[int, ...]) -> None:
        super().__init__(folder)
        self.failing = failing

    def save(self, step: int, *state: Any) -> Path:
        if step in self.failing:
            raise StorageError("the disk is full", where=self.folder)
        return super().save(step, *state)


def test_t09_disk_full_during_a_save(tmp_path: Path) -> None:
    """A save that fails in between is told, training goes on, and the result is the
    same."""
    folder = tmp_path / "a.run"
    student, other = tied(), tied()
    events = train(student, run=FullDisk(folder, (4,)))
    train(other)

    assert [f"{folder}: the disk is full; training goes on"] == [
        e.text for e in events if isinstance(e, Note)
    ]
    assert [8, 12] == [e.step for e in events if isinstance(e, Saved)]
    assert same(state_of(student), state_of(other))


def test_t09_disk_full_tells_what_is_kept(tmp_path: Path) -> None:
    """A later failure names the state that a resume would start from."""
    events = train(tied(), run=FullDisk(tmp_path / "a.run", (8,)))

    (note,) = [e.text for e in events if isinstance(e, Note)]
    assert note.endswith("training goes on; the state of step 4 is kept")


def test_t09_disk_full_at_the_end(tmp_path: Path) -> None:
    """The last state has to be saved."""
    with pytest.raises(StorageError, match="the disk is full"):
        train(tied(), run=FullDisk(tmp_path / "a.run", (12,)))


class DeafRun(Run):
    """A run whose log cannot be written, but for one event."""

    hears = "step"

    def log(self, record: Any) -> None:
        if record["event"] != self.hears:
            raise StorageError("cannot be written", where="log.jsonl")


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    """It is told, and again once it could be in between; training goes on."""
    events = train(tied(), run=DeafRun(tmp_path / "a.run"), epochs=None, steps=1)
    kinds = [type(e).__name__ for e in events]
    step = kinds.index("Step")

    assert ["Note", "Evaluated"] == kinds[:2]
    assert 1 == kinds[:step].count("Note")
    assert "Note" == kinds[step + 1]
    assert 1 == kinds[step:].count("Note")
    assert "Finished" == kinds[-1]
    assert Note("log.jsonl: cannot be written") == events[0]


def test_giving_up_the_loop_frees_the_run(tmp_path: Path) -> None:
    """A consumer that stops listening leaves a run that can be resumed."""
    events = finetune(
        tied(), Points(), recipe(), run=Run(tmp_path / "a.run"), device="cpu"
    )
    for event in events:
        if isinstance(event, Saved):
            break
    events.close()  # type: ignore[attr-defined]
    resumed = train(tied(), run=Run(tmp_path / "a.run", resume=True))

    assert Note(f"{tmp_path / 'a.run'}: resuming at step 4") == resumed[0]


class Overflowing(Points):
    """A task whose loss is finite, and has no finite gradient."""

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Any:
        """The root of zero adds nothing to it but an infinite slope."""
        slope = (outputs.float().sum() * 0).abs().sqrt()
        return super().loss(outputs, batch) + slope


def test_t08_gradients_that_overflow() -> None:
    """float16 leaves a step out whose gradients are not finite; a run of nothing else
    ends, before long, with what to do."""
    student = tied()
    before = state_of(student)
    with pytest.raises(TrainingError) as caught:
        train(student, Overflowing(), precision="float16", epochs=20)

    assert (
        "gradients overflow float16, 40 steps in a row up to step 41. Set"
        " finetune.precision to bfloat16 or float32"
    ) == str(caught.value)
    assert same(
        *(
            {name: t for name, t in state.items() if not name.startswith("module.1")}
            for state in (before, state_of(student))
        )
    )


class Large(Points):
    """A task whose loss is some millions."""

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Any:
        """The task's own, many times."""
        return 1e7 * super().loss(outputs.float(), batch)


def test_a_scale_that_has_to_settle() -> None:
    """Gradients that are finite at last are waited for, however small their scale."""
    student = tied()
    before = state_of(student)
    options = {"optimizer": {"name": "adamw", "lr": 1e-2}, "precision": "float16"}
    events = train(student, Large(train=26), epochs=12, **options)

    assert isinstance(events[-1], Finished)
    assert not torch.equal(before["pools.main"], state_of(student)["pools.main"])


class Unlabelled(Points):
    """Training data without labels."""

    def data(self, split: str) -> Any:
        """The points of ``train`` alone."""
        found = super().data(split)
        return TensorData(found.tensors[0]) if found and split == "train" else found


def test_a_teacher_alone_does_without_labels() -> None:
    """With its weight at 1 the task's loss is not asked for."""
    distill = {"weight": 1.0}
    losses = [
        [
            e.loss
            for e in train(network(), task, teacher=network(5), distill=distill)
            if isinstance(e, Step)
        ]
        for task in (Unlabelled(), Still())
    ]

    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]
    with pytest.raises(TrainingError, match="IndexError"):
        train(network(), Unlabelled(), teacher=network(5), distill={"weight": 0.9})
