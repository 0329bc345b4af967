"""``wpack finetune``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.harness import Calls, Run
from wpack.events import Evaluated, Event, Finished, Note, Saved, Step
from wpack.stats import FileStats

FINISHED = Finished(7, "accuracy", {}, {"test": {"accuracy": 0.75}})


@pytest.fixture
def events(api: Calls, stats: FileStats) -> list[Event]:
    """What a run of one step yields."""
    found: list[Event] = [
        Note("projected"),
        Step(1, 1, 1.0, 0.5, 0.1, 10.0, 0.0, "images"),
        Evaluated(1, "validation", {"accuracy": 0.75}, "accuracy", True),
        Saved(1, Path("o.run/step-000001")),
        FINISHED,
    ]

    def finetune(*args: Any, **kwargs: Any) -> Iterator[Event]:
        print("loading data")
        yield from found

    api.gives.update(finetune=finetune, stats=stats)
    return found


def test_finetune(run: Run, api: Calls, events: list[Event]) -> None:
    """Progress on stderr, the result on stdout, whatever the task prints."""
    result = run(
        "finetune", "m.pt", "--ratio", "2", "-o", "o", "--task", "t:t", "--resume",
        "auto",
    )  # fmt: skip
    _, (checkpoint, _, output), options = api.made[0]

    assert result.status == 0
    assert (checkpoint, output) == ("m.pt", "o")
    assert options.pop("stop")() == 0
    assert options == {
        "force": False,
        "key": None,
        "task": "t:t",
        "run": None,
        "resume": "auto",
        "allow_mismatch": False,
        "device": "auto",
    }
    assert result.err == (
        "loading data\n"
        "wpack: note: projected\n"
        "wpack: step 1 of 1, epoch 1.00: loss 0.5, learning rate 0.1, 10 images/s,"
        " 0 s left\n"
        "wpack: step 1, validation: accuracy 0.75, the best so far\n"
        "wpack: step 1: saved o.run/step-000001\n"
    )
    assert result.out.startswith("split  metric    before  after\n")


@pytest.mark.usefixtures("events")
def test_finetune_keeps_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that trains keeps what it frees."""
    kept: list[bool] = []
    monkeypatch.setattr("wpack.allocator.keep_memory", lambda: kept.append(True))
    run("finetune", "m", "--ratio", "2", "-o", "o")

    assert [True] == kept


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("-q", "loading data\n"),
        ("--no-progress", "loading data\nwpack: note: projected\n"),
    ],
)
def test_finetune_quietly(
    run: Run, events: list[Event], option: str, expected: str
) -> None:
    """--no-progress leaves the notes, --quiet nothing of ours."""

    assert expected == run("finetune", "m", "--ratio", "2", "-o", "o", option).err


def test_finetune_from_scratch(run: Run, api: Calls, events: list[Event]) -> None:
    """No checkpoint goes to the library."""
    result = run("finetune", "--from-scratch", "--ratio", "2", "-o", "o")
    _, (checkpoint, _, output), _ = api.made[0]

    assert result.status == 0
    assert (checkpoint, output) == (None, "o")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            [],
            "neither CHECKPOINT nor --from-scratch is given. Name the checkpoint to"
            " train, or start with a new network",
        ),
        (
            ["m.pt", "--from-scratch"],
            "m.pt: --from-scratch and a CHECKPOINT cannot be used together. Leave one"
            " of them out",
        ),
        (
            ["--from-scratch", "--key", "ema"],
            "--from-scratch and --key cannot be used together. A key is for a"
            " checkpoint",
        ),
    ],
)
def test_finetune_starts_from_one_thing(
    run: Run, api: Calls, arguments: list[str], expected: str
) -> None:
    """A checkpoint or a new network, and it is said which is missing."""
    result = run("finetune", *arguments, "--ratio", "2", "-o", "o")

    assert (result.status, api.made) == (2, [])
    assert result.err == f"wpack: error: {expected}\n"


def test_finetune_needs_a_file(run: Run, api: Calls) -> None:
    """There is nowhere to keep a run beside stdout."""
    result = run("finetune", "m.pt", "--ratio", "2", "-o", "-")

    assert (result.status, api.made) == (2, [])
    assert result.err == (
        "wpack: error: Invalid value for '-o' / '--output': it needs a file, not"
        " stdout. See 'wpack finetune --help'\n"
    )
