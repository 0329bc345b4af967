"""Run folders: beginning, saving, resuming, and changed settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.run_folders import CONFIG, listing, resumed, save, started
from wpack.errors import UsageError
from wpack.runs import Run


def test_new_run(tmp_path: Path) -> None:
    """A new run has a config and a log, and nothing to go on from."""
    folder = tmp_path / "deep" / "a.run"
    with Run(folder) as run:
        state = run.start(CONFIG)

    assert state is None
    assert [] == run.notes
    assert ["config.json", "log.jsonl"] == listing(folder)
    assert CONFIG == json.loads((folder / "config.json").read_text())


def test_save_and_resume(tmp_path: Path) -> None:
    """The newest state comes back."""
    started(tmp_path / "a.run", (5, 10)).close()
    state, run = resumed(tmp_path / "a.run")

    assert state is not None
    assert (10, {"step": 10}) == (state.step, state.values)
    assert [10.0] * 3 == state.tensors["training"]["w"].tolist()
    assert {"training", "best"} == set(state.tensors)
    assert [f"{run.folder}: resuming at step 10"] == run.notes


def test_newest_two_are_kept(tmp_path: Path) -> None:
    """Older states go when a newer one stands; step numbers are compared as numbers."""
    run = started(tmp_path / "a.run", (1, 999999, 1000000))
    states = ["step-1000000", "step-999999"]

    assert ["config.json", "log.jsonl", *states] == listing(run.folder)
    run.close()
    state, run = resumed(run.folder)
    assert state is not None
    assert 1000000 == state.step
    with Run(run.folder, resume=True) as again:
        again.start(CONFIG)
        save(again, 1000001)
    assert ["step-1000000", "step-1000001"] == listing(run.folder)[2:]


def test_a_step_is_saved_once(tmp_path: Path) -> None:
    """A step leads to one state, so one that is there is not written again."""
    run = started(tmp_path / "a.run", (3,))
    before = (run.folder / "step-000003" / "MANIFEST.json").stat().st_mtime_ns
    path = save(run, 3)
    run.close()

    assert run.folder / "step-000003" == path
    assert before == (path / "MANIFEST.json").stat().st_mtime_ns


def test_t07_folder_is_not_empty(tmp_path: Path) -> None:
    """Without resume a run never mixes with what is there."""
    started(tmp_path / "a.run").close()
    with pytest.raises(UsageError) as caught:
        Run(tmp_path / "a.run")

    assert (
        f"{tmp_path / 'a.run'}: the run folder is not empty."
        " --resume auto goes on with the run in it"
    ) == str(caught.value)


def test_t07_nothing_to_resume(tmp_path: Path) -> None:
    """Resuming nothing starts afresh and says so; an empty folder is nothing."""
    for folder in (tmp_path / "none", tmp_path / "empty"):
        if folder.name == "empty":
            folder.mkdir()
        state, run = resumed(folder)

        assert state is None
        assert [f"{folder}: nothing to resume"] == run.notes


def test_not_a_run_folder(tmp_path: Path) -> None:
    """Other people's folders are left alone; a file is no folder."""
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(UsageError) as caught:
        Run(tmp_path, resume=True)
    assert (
        f"{tmp_path}: is no run folder: it holds other things and no config.json"
    ) == str(caught.value)

    with pytest.raises(UsageError) as caught:
        Run(tmp_path / "thesis.tex")
    assert f"{tmp_path / 'thesis.tex'}: cannot be a run folder: Not a directory" == str(
        caught.value
    )


def test_two_processes(tmp_path: Path) -> None:
    """A run has one writer."""
    run = started(tmp_path / "a.run")
    other = Run(tmp_path / "a.run", resume=True)
    with pytest.raises(UsageError) as caught:
        other.start(CONFIG)
    run.close()

    assert f"{run.folder}: another process is writing to this run. Wait" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"lr": 0.05}, "recipe.lr: 0.1 in the run, 0.05 now"),
        ({"lr": None}, "recipe.lr: 0.1 in the run, null now"),
        (
            {"betas": [0.9, 0.95]},
            "recipe.betas: [0.9, 0.99] in the run, [0.9, 0.95] now",
        ),
        ({"new": 1}, "recipe.new: null in the run, 1 now"),
    ],
)
def test_t05_changed_settings(
    tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    """A run that was started otherwise is not resumed, and the difference is shown."""
    started(tmp_path / "a.run", (2,)).close()
    config = {**CONFIG, "recipe": {**CONFIG["recipe"], **changed}}  # type: ignore[dict-item]
    with pytest.raises(UsageError) as caught:
        resumed(tmp_path / "a.run", config)

    assert (
        f"{tmp_path / 'a.run'}: the run was started with other settings: {expected}."
        " Start a run in another folder, or give --allow-mismatch"
    ) == str(caught.value)


def test_t05_allowed(tmp_path: Path) -> None:
    """Asked to, it goes on, says what changed, and is compared with that from now."""
    started(tmp_path / "a.run", (2,)).close()
    config = {**CONFIG, "plan": "b" * 64}
    with Run(tmp_path / "a.run", resume=True, allow_mismatch=True) as run:
        state = run.start(config)

    short = '"' + "a" * 38 + "…", '"' + "b" * 38 + "…"
    assert state is not None
    assert 2 == state.step
    assert (
        f"{run.folder}: settings changed: plan: {short[0]} in the run, {short[1]} now"
    ) == run.notes[0]
    assert resumed(run.folder, config)[0] is not None


def test_t05_bound(tmp_path: Path) -> None:
    """What states are of no use without is not let through, though asked to."""
    started(tmp_path / "a.run", (2,)).close()
    config = {**CONFIG, "plan": "b"}
    with (
        Run(tmp_path / "a.run", resume=True, allow_mismatch=True) as run,
        pytest.raises(UsageError, match=r"folder: no state of it would fit") as caught,
    ):
        run.start(config, bound=("plan",))

    assert "plan: " in str(caught.value)
    assert resumed(tmp_path / "a.run")[0] is not None


def test_beyond_the_end(tmp_path: Path) -> None:
    """A run that has taken more steps than it is to take is not gone on with, and stays
    what it was."""
    started(tmp_path / "a.run", (2, 4)).close()
    with (
        Run(tmp_path / "a.run", resume=True, allow_mismatch=True) as run,
        pytest.raises(UsageError) as caught,
    ):
        run.start({**CONFIG, "steps": 3}, steps=3)

    assert (
        f"{run.folder}: the run has taken 4 steps, and is to end after 3. Set"
        " finetune.steps or epochs to more, or start a run in another folder"
    ) == str(caught.value)
    with Run(tmp_path / "a.run", resume=True) as run:
        assert run.start(CONFIG, steps=4) is not None


def test_t05_many_differences(tmp_path: Path) -> None:
    """The message stays short however much has changed."""
    with Run(tmp_path / "a.run") as run:
        run.start({f"key{i}": 0 for i in range(8)})
    with pytest.raises(UsageError) as caught:
        resumed(run.folder, {f"key{i}": 1 for i in range(8)})

    assert "key4: 0 in the run, 1 now; and 3 more. Start" in str(caught.value)
    assert "key5" not in str(caught.value)


def test_damaged_config(tmp_path: Path) -> None:
    """A config that cannot be read is not guessed."""
    started(tmp_path / "a.run").close()
    (tmp_path / "a.run" / "config.json").write_text("{")
    with pytest.raises(UsageError, match=r"config\.json: is damaged: .* from a copy"):
        resumed(tmp_path / "a.run")


def test_log(tmp_path: Path) -> None:
    """Records become lines; before the start and after the end there is no log."""
    run = Run(tmp_path / "a.run")
    run.log({"event": "lost"})
    run.start(CONFIG)
    run.log({"event": "kept"})
    run.close()
    run.log({"event": "lost"})

    (line,) = (tmp_path / "a.run" / "log.jsonl").read_text().splitlines()
    assert "kept" == json.loads(line)["event"]
