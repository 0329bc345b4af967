"""A run that is stopped anywhere and resumed is the run that was not (T01, T02,
T06)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import Points, Still, network, recipe, same, state_of, tied
from wpack.errors import UsageError
from wpack.events import Evaluated, Event, Finished, Note, Saved, Step
from wpack.finetune import finetune
from wpack.runs import Run
from wpack.stopping import Interrupted, Stop, never

RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {
        "optimizer": {"name": "sgd", "lr": 0.1, "nesterov": True},
        "schedule": {"name": "cosine", "warmup": 3},
        "label_smoothing": 0.1,
        "clip_norm": 1.0,
        "ema": 0.8,
        "save_every": 3,
    },
    "adamw": {
        "optimizer": {"name": "adamw", "lr": 0.02},
        "distill": {
            "weight": 0.5,
            "temperature": 2.0,
            "hints": {"modules": ["2", "5"], "weight": 0.3},
        },
        "precision": "bfloat16",
    },
    "gradual": {"gradual": 0.6, "optimizer": {"name": "sgd", "lr": 0.05}},
}
#: Questions asked of ``stop`` in a whole run: 12 steps and 12 batches of evaluation.
QUESTIONS = 24


class Asked:
    """A ``stop`` that says so at the n-th question, from 0."""

    def __init__(self, at: int, code: int = 130) -> None:
        self.count = 0
        self.at = at
        self.code = code

    def __call__(self) -> int:
        self.count += 1
        return self.code if self.count > self.at else 0


def start(
    name: str, run: Run | None, stop: Callable[[], int] = never
) -> tuple[list[Event], dict[str, Tensor], Interrupted | None]:
    """A run in a new process, so to speak: its events, the student's weights at the
    end, and how it was stopped."""
    student = tied("bfloat16")
    if "gradual" in RECIPES[name]:
        student.loosen(state_of(network(0)))
    torch.manual_seed(hash(run) % 1000)  # whatever the process has drawn before
    events: list[Event] = []
    loop = finetune(
        student,
        Points(),
        recipe(**RECIPES[name]),
        teacher=network(5),
        run=run,
        device="cpu",
        stop=stop,
    )
    try:
        for event in loop:
            events.append(event)
    except Interrupted as interrupted:
        return events, state_of(student), interrupted
    return events, state_of(student), None


@cache
def whole(name: str) -> tuple[list[Event], dict[str, Tensor]]:
    """The run that nobody stops."""
    events, weights, _ = start(name, None)
    return events, weights


def losses(events: list[Event]) -> dict[int, float]:
    """Step → loss."""
    return {e.step: e.loss for e in events if isinstance(e, Step)}


def scores(events: list[Event]) -> dict[tuple[int, str], dict[str, float]]:
    """Step and split → metrics."""
    return {(e.step, e.split): e.metrics for e in events if isinstance(e, Evaluated)}


def test_questions() -> None:
    """The flag is asked before each step and each batch of an evaluation."""
    stop = Asked(QUESTIONS)
    start("sgd", None, stop)

    assert QUESTIONS == stop.count


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("at", range(QUESTIONS))
def test_t06_stopped_anywhere(name: str, at: int, tmp_path: Path) -> None:
    """Stopped at any question, in training or evaluation, and resumed: the same losses,
    metrics, best step and weights, bit for bit."""
    folder = tmp_path / "a.run"
    first, _, interrupted = start(name, Run(folder), Asked(at, 143))
    second, weights, _ = start(name, Run(folder, resume=True))
    expected, expected_weights = whole(name)

    assert interrupted is not None
    assert 143 == interrupted.exit_code
    assert losses(expected) == {**losses(first), **losses(second)}
    assert len(losses(expected)) == len(losses(first)) + len(losses(second))
    assert scores(expected) == {**scores(first), **scores(second)}
    assert expected[-1] == second[-1]
    assert same(expected_weights, weights)


def cached(
    run: Run | None, accumulate: int = 1, cache: bool = True, stop: Stop = never
) -> tuple[list[Event], dict[str, Tensor]]:
    """A run on data without noise, its teacher asked once; an interrupted one ends."""
    student, events = tied(), list[Event]()
    wanted = recipe(
        accumulate=accumulate, distill={"weight": 0.8, "cache": cache}, save_every=3
    )
    loop = finetune(
        student, Still(), wanted, teacher=network(5), run=run, device="cpu", stop=stop
    )
    with suppress(Interrupted):
        for event in loop:
            events.append(event)
    return events, state_of(student)


@pytest.mark.parametrize("at", [0, 3, 5, 9, 16, 28])
def test_t06_stopped_with_a_cache(at: int, tmp_path: Path) -> None:
    """While the teacher is asked about the data, in training or evaluation: a resumed
    run asks again, and goes on bit for bit."""
    folder = tmp_path / "a.run"
    expected, expected_weights = cached(None)
    first, _ = cached(Run(folder), stop=Asked(at))
    second, weights = cached(Run(folder, resume=True))

    assert not isinstance(first[-1], Finished)
    assert losses(expected) == {**losses(first), **losses(second)}
    assert scores(expected) == {**scores(first), **scores(second)}
    assert same(expected_weights, weights)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_cache_changes_nothing_else(accumulate: int) -> None:
    """The losses are those of a teacher that is asked at each step, in micro-batches
    too."""
    events, _ = cached(None, accumulate)
    expected, _ = cached(None, accumulate, cache=False)

    assert losses(expected) == pytest.approx(losses(events), rel=1e-4)
    assert ["the teacher is asked about", "the teacher's logits are k"] == [
        event.text[:26] for event in events[:2] if isinstance(event, Note)
    ]


def test_a_finished_run_asks_nobody(tmp_path: Path) -> None:
    """A run that is resumed after its last step has no use for a teacher."""
    folder = tmp_path / "a.run"
    cached(Run(folder))
    events, _ = cached(Run(folder, resume=True))

    assert not [e for e in events if isinstance(e, Note) and "teacher" in e.text]
    assert isinstance(events[-1], Finished)


def test_t06_stopped_again_and_again(tmp_path: Path) -> None:
    """A run that gets five questions at a time arrives all the same."""
    folder = tmp_path / "a.run"
    seen: dict[int, float] = {}
    for _ in range(QUESTIONS):
        events, weights, interrupted = start("sgd", Run(folder, resume=True), Asked(5))
        seen |= losses(events)
        if interrupted is None:
            break
    expected, expected_weights = whole("sgd")

    assert interrupted is None
    assert losses(expected) == seen
    assert same(expected_weights, weights)


@pytest.mark.parametrize("step", [3, 6, 9, 12])
def test_t04_killed_after_a_save(step: int, tmp_path: Path) -> None:
    """What a kill leaves after any of the saves leads to the same end."""
    copies: dict[int, Path] = {}
    student = tied("bfloat16")
    loop = finetune(
        student,
        Points(),
        recipe(**RECIPES["sgd"]),
        run=Run(tmp_path / "a.run"),
        device="cpu",
    )
    for event in loop:
        if isinstance(event, Saved):
            copies[event.step] = tmp_path / f"killed-{event.step}"
            shutil.copytree(tmp_path / "a.run", copies[event.step])
    events, weights, _ = start("sgd", Run(copies[step], resume=True))
    expected, expected_weights = whole("sgd")

    assert Note(f"{copies[step]}: resuming at step {step}") == events[0]
    assert {s: v for s, v in losses(expected).items() if s > step} == losses(events)
    assert same(expected_weights, weights)


def test_t01_message(tmp_path: Path) -> None:
    """The message says how far the run came and how to go on."""
    folder = tmp_path / "a.run"
    _, _, interrupted = start("adamw", Run(folder), Asked(10))

    assert interrupted is not None
    assert 130 == interrupted.exit_code
    assert (
        f"{folder}: stopped after step 4 of 12. --resume auto goes on from there"
    ) == str(interrupted)


def test_t01_without_a_run() -> None:
    """Without a run folder it says that nothing is saved."""
    _, _, interrupted = start("adamw", None, Asked(10))

    assert "stopped after step 4 of 12. Nothing is saved" == str(interrupted)


def test_a_finished_run_is_finished_again(tmp_path: Path) -> None:
    """Resuming a run that is done trains nothing and gives its result."""
    folder = tmp_path / "a.run"
    start("sgd", Run(folder))
    events, weights, _ = start("sgd", Run(folder, resume=True))
    expected, expected_weights = whole("sgd")

    assert {} == losses(events)
    assert isinstance(events[-1], Finished)
    assert expected[-1] == events[-1]
    assert same(expected_weights, weights)


def test_t07_nothing_to_resume(tmp_path: Path) -> None:
    """It starts from the beginning and says so."""
    folder = tmp_path / "a.run"
    events, _, _ = start("sgd", Run(folder, resume=True))

    assert Note(f"{folder}: nothing to resume") == events[0]
    assert losses(whole("sgd")[0]) == losses(events)


@pytest.mark.parametrize(
    ("task", "options", "expected"),
    [
        (Points(), {"batch_size": 5}, "recipe.batch_size: 6 in the run, 5 now"),
        (Points(), {"seed": 1}, "recipe.seed: 0 in the run, 1 now"),
        (Points(train=25, validation=9, test=7), {}, "data.train: "),
        (Points(train=26, test=7), {}, "data.validation: "),
        (Points(), {"precision": "bfloat16"}, 'precision: "float32" in the run,'),
    ],
)
def test_t05_changed(
    task: Points, options: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """Changed data, seeds or settings are not resumed; the message shows them."""
    folder = tmp_path / "a.run"
    with pytest.raises(Interrupted):
        list(
            finetune(
                tied(), Points(), recipe(), run=Run(folder), device="cpu", stop=Asked(9)
            )
        )
    loop = finetune(
        tied(), task, recipe(**options), run=Run(folder, resume=True), device="cpu"
    )
    with pytest.raises(UsageError) as caught:
        list(loop)

    assert str(caught.value).startswith(
        f"{folder}: the run was started with other settings: {expected}"
    )


def test_saving_more_often_changes_nothing(tmp_path: Path) -> None:
    """How often a run is saved may change on the way."""
    folder = tmp_path / "a.run"
    with pytest.raises(Interrupted):
        list(
            finetune(
                tied(), Points(), recipe(), run=Run(folder), device="cpu", stop=Asked(9)
            )
        )
    loop = finetune(
        tied(),
        Points(),
        recipe(save_every=1),
        run=Run(folder, resume=True),
        device="cpu",
    )

    assert isinstance(list(loop)[-1], Finished)


def changed(
    before: dict[str, Any],
    after: dict[str, Any],
    folder: Path,
    task: Points | None = None,
) -> tuple[list[Event], dict[str, Tensor]]:
    """A run that is stopped, and resumed as another recipe."""
    student, task = tied(), task or Points()
    first = finetune(
        student, task, recipe(**before), run=Run(folder), device="cpu", stop=Asked(11)
    )
    with pytest.raises(Interrupted):
        list(first)
    run = Run(folder, resume=True, allow_mismatch=True)
    student = tied()
    events = list(finetune(student, task, recipe(**after), run=run, device="cpu"))
    return events, state_of(student)


@pytest.mark.parametrize(
    "after",
    [{"epochs": 1}, {"metric": "loss"}, {"optimizer": {"name": "adamw", "lr": 0.1}}],
)
def test_t05_refused_all_the_same(after: dict[str, Any], tmp_path: Path) -> None:
    """What no state fits is no matter of allowing it: a run that is over before where
    it is, another metric, another optimiser.  The run can go on as it was."""
    folder = tmp_path / "a.run"
    with pytest.raises(UsageError, match=r"is to end after 4|no state of it would fit"):
        changed({}, after, folder)
    loop = finetune(
        tied(), Points(), recipe(), run=Run(folder, resume=True), device="cpu"
    )

    assert isinstance(list(loop)[-1], Finished)


def test_t05_another_precision(tmp_path: Path) -> None:
    """float16 begins with a fresh scale of the loss, and ends with one."""
    half = {"precision": "float16"}
    for name, before, after in (("in", {}, half), ("out", half, {})):
        events, _ = changed(before, after, tmp_path / name)

        assert isinstance(events[-1], Finished)


def test_t05_a_mean_from_now_on(tmp_path: Path) -> None:
    """A running mean that is asked for before the last step starts at the weights of
    then, not at those that the run began with."""
    train = Points(train=26)
    events, mean = changed({}, {"ema": 0.99}, tmp_path / "a.run", train)
    _, last = changed({}, {}, tmp_path / "b.run", train)
    begun = state_of(tied())
    off, moved = (
        sum((one[name] - last[name]).square().sum() for name in last if "pools" in name)
        for one in (mean, begun)
    )

    assert [12] == list(losses(events))
    assert 0 < off < moved / 10
