"""Run folders: what a kill, a full disk and a damaged file do to a run."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from tests.run_folders import CONFIG, Watched, listing, resumed, save, started
from wpack.errors import StorageError
from wpack.runs import KEEP, Run


def test_t04_damaged_states_are_passed_over(tmp_path: Path) -> None:
    """The newest complete state counts; what was passed over is told."""
    run = started(tmp_path / "a.run", (1, 2))
    run.close()
    (run.folder / "step-000002" / "best.safetensors").write_bytes(b"")
    shutil.copytree(run.folder / "step-000001", run.folder / "step-000003")
    (run.folder / "step-000003" / "MANIFEST.json").unlink()
    state, run = resumed(run.folder)

    assert state is not None
    assert 1 == state.step
    assert [
        f"{run.folder / 'step-000003'}: passed over, MANIFEST.json is missing",
        f"{run.folder / 'step-000002'}: passed over, best.safetensors has 0 bytes, not"
        " 76",
        f"{run.folder}: resuming at step 1",
    ] == run.notes


def test_damaged_states_are_written_again(tmp_path: Path) -> None:
    """When the run comes to the step of a damaged state, it is replaced."""
    run = started(tmp_path / "a.run", (1, 2))
    run.close()
    (run.folder / "step-000002" / "state.json").unlink()
    with Run(run.folder, resume=True) as again:
        again.start(CONFIG)
        save(again, 2)

    state, _ = resumed(run.folder)
    assert state is not None
    assert 2 == state.step


def test_w04_kill_at_every_call(tmp_path: Path) -> None:
    """At whatever system call a kill comes, there is a whole state: the new one once it
    has its name, before that the old one; and the two of before are still there."""
    folder = tmp_path / "a.run"
    started(folder, (1, 2)).close()
    pictures: list[Path] = []

    def picture(number: int) -> None:
        pictures.append(tmp_path / f"killed-{number}")
        shutil.copytree(folder, pictures[-1])

    with Run(folder, resume=True, os_=Watched(picture)) as run:
        run.start(CONFIG)
        save(run, 3)
    found = []
    for killed in pictures:
        state, again = resumed(killed)
        assert state is not None
        assert [float(state.step)] * 3 == state.tensors["training"]["w"].tolist()
        assert 1 == len(again.notes)
        assert not [name for name in listing(killed) if name.endswith(".tmp")]
        assert len(listing(killed)) >= 2 + KEEP
        found.append(state.step)

    assert len(found) > 20
    assert sorted(found) == found
    assert {2, 3} == set(found)


def calls_of_a_save(folder: Path) -> int:
    """How many system calls a save makes that must not fail."""
    system = Watched(lambda number: None)
    with Run(folder, os_=system) as run:
        run.start(CONFIG)
        save(run, 1)
    return system.count


def test_t09_every_failing_call(tmp_path: Path) -> None:
    """Whatever call fails, the error is one of storage, the older states stand, nothing
    half written is left, and the next save works."""
    total = calls_of_a_save(tmp_path / "count.run")
    assert total > 20
    for failing in range(1, total + 1):
        folder = tmp_path / f"{failing}.run"
        started(folder, (1, 2)).close()

        def fail(number: int, failing: int = failing) -> None:
            if number == failing:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with Run(folder, resume=True, os_=Watched(fail)) as run:
            run.start(CONFIG)
            with pytest.raises(StorageError, match="the disk is full"):
                save(run, 3)
            assert {"step-000001", "step-000002"} <= set(listing(folder))
            assert not [name for name in listing(folder) if name.endswith(".tmp")]
            save(run, 4)
        state, _ = resumed(folder)
        assert state is not None
        assert 4 == state.step


def test_interrupted_save(tmp_path: Path) -> None:
    """A second Ctrl-C in the middle of a save leaves the last good state and no
    rubbish."""

    def interrupt(number: int) -> None:
        if number == 8:
            raise KeyboardInterrupt

    folder = tmp_path / "a.run"
    started(folder, (1,)).close()
    with Run(folder, resume=True, os_=Watched(interrupt)) as run:
        run.start(CONFIG)
        with pytest.raises(KeyboardInterrupt):
            save(run, 2)

    assert ["config.json", "log.jsonl", "step-000001"] == listing(folder)


def test_folder_that_cannot_be_made() -> None:
    """A folder that cannot be made is an error of storage, with its name."""
    with pytest.raises(StorageError) as caught:
        started(Path("/proc/no/a.run"))

    assert "/proc/no/a.run: cannot be made: No such file or directory" == str(
        caught.value
    )
