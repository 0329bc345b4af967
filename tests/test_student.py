"""Who teaches: the checkpoint, another one, or the task's own network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.tiny import Points, network, same, state_of
from wpack import weight_file
from wpack.errors import TrainingError, UsageError
from wpack.limits import Limits
from wpack.spec import FinetuneSpec, parse
from wpack.student import teacher_of

SPEC = parse("version: 1\npools: {main: {tensors: ['*'], ratio: 2}}\n")


class Taught(Points):
    """A task whose teacher is what it was made with."""

    def __init__(self, given: Any) -> None:
        super().__init__()
        self.given = given

    def teacher(self) -> Any:
        if isinstance(self.given, Exception):
            raise self.given
        return self.given


def teacher(
    folder: Path, distill: dict[str, Any] | None, task: Points | None = None
) -> nn.Module | None:
    """The teacher of a run on a checkpoint of seed 1, beside one of seed 2."""
    for seed in (1, 2):
        torch.save(network(seed).state_dict(), folder / f"{seed}.pt")
    recipe = FinetuneSpec.model_validate({"distill": distill})
    with weight_file.opened(folder / "1.pt", limits=Limits()) as file:
        return teacher_of(SPEC, recipe, task or Points(), file, Limits())


def test_the_checkpoint_teaches(tmp_path: Path) -> None:
    """Unless another is named, or nobody."""
    found = teacher(tmp_path, {})

    assert found is not None
    assert same(state_of(network(1)), state_of(found))
    assert teacher(tmp_path, None) is None


def test_another_checkpoint_teaches(tmp_path: Path) -> None:
    """By its path."""
    found = teacher(tmp_path, {"teacher": str(tmp_path / "2.pt")})

    assert found is not None
    assert same(state_of(network(2)), state_of(found))


def test_the_task_s_own_teacher(tmp_path: Path) -> None:
    """Any network, of another architecture too."""
    own = nn.Linear(2, 3)

    assert own is teacher(tmp_path, {"teacher": "task"}, Taught(own))


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (Points(), "the task has no teacher of its own."),
        (Taught("x"), "the task has no teacher of its own, but gives a str."),
    ],
)
def test_a_task_without_a_teacher(task: Points, expected: str, tmp_path: Path) -> None:
    """It is refused, and a file of that name can be named."""
    with pytest.raises(UsageError) as caught:
        teacher(tmp_path, {"teacher": "task"}, task)

    assert (
        f"finetune.distill.teacher: {expected} Define its teacher method, or write"
        " ./task for a file of that name"
    ) == str(caught.value)


def test_a_task_whose_teacher_fails(tmp_path: Path) -> None:
    """What its code raises is told in words."""
    with pytest.raises(TrainingError) as caught:
        teacher(tmp_path, {"teacher": "task"}, Taught(KeyError("a")))

    assert "the task's teacher: KeyError: 'a'. --debug shows the traceback" == str(
        caught.value
    )
