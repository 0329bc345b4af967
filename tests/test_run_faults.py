"""Run folders: what a kill, a full disk and a damaged file do to a run."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.power_cut import PowerCut
from tests.run_folders import CONFIG, Watched, listing, resumed, save, started
from wpack import durable
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


@pytest.fixture(scope="module")
def two_states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with two states, to be copied."""
    folder = tmp_path_factory.mktemp("runs") / "a.run"
    started(folder, (1, 2)).close()
    return folder


@pytest.mark.parametrize(
    "code",
    [errno.ENOSPC, errno.EIO, errno.EACCES, errno.EINTR],
    ids=errno.errorcode.get,
)
def test_t09_every_failing_call(two_states: Path, tmp_path: Path, code: int) -> None:
    """Whatever call of a save fails, the error is one of storage, the older states
    stand, nothing half written is left, and the next save works."""
    failures = 0
    for failing in itertools.count(1):
        folder = tmp_path / f"{failing}.run"
        shutil.copytree(two_states, folder)
        system = Watched(failing_at(failing, code))
        system.count = -1000  # calls of the start do not count
        with Run(folder, resume=True, os_=system) as run:
            run.start(CONFIG)
            system.count = 0
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # W12: a folder that cannot be flushed
                failed = refused(partial(save, run, 3))
            if failed:
                failures += 1
                assert failed.startswith(f"{folder / 'step-000003'}: ")
                assert {"step-000001", "step-000002"} <= set(listing(folder))
            assert not [name for name in listing(folder) if name.endswith(".tmp")]
            if system.count < failing:
                break
            save(run, 4)
        state, _ = resumed(folder)
        assert state is not None
        assert 4 == state.step

    assert failing > 40
    assert failures > 30


def refused(work: Callable[[], object]) -> str:
    """What an error of storage says, or nothing."""
    try:
        work()
    except StorageError as error:
        return str(error)
    return ""


def failing_at(failing: int, code: int) -> Callable[[int], None]:
    """A system that refuses one call, once."""

    def before(number: int) -> None:
        if number == failing:
            raise OSError(code, os.strerror(code))

    return before


def start(folder: Path, system: Watched) -> None:
    """Start a run, and no more."""
    with Run(folder, os_=system) as run:
        run.start(CONFIG)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_of_a_start(tmp_path: Path, code: int) -> None:
    """A run that could not be started can be started once the trouble is over."""
    for failing in itertools.count(1):
        folder = tmp_path / f"{failing}.run"
        system = Watched(failing_at(failing, code))
        failed = refused(partial(start, folder, system))
        if not failed:
            break
        assert failed.startswith(str(tmp_path))
        state, _ = resumed(folder)
        assert state is None
        assert ["config.json", "log.jsonl"] == listing(folder)

    assert failing > 10


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


def test_w05_power_cut_at_every_call(tmp_path: Path) -> None:
    """At whatever system call the power goes, there is a whole state, and once a save
    has returned it is the new one; an older one goes after that and not before."""
    folder = tmp_path / "a.run"
    started(folder, (1, 2)).close()
    system = PowerCut()
    pictures: list[Path] = []
    pending: list[bool] = []

    def picture(number: int) -> None:
        pictures.append(tmp_path / f"cut-{number}")
        pending.append(folder in system.pending)
        system.picture(folder, pictures[-1])

    with Run(folder, resume=True, os_=Watched(picture, system)) as run:
        run.start(CONFIG)
        save(run, 3)
        last = len(pictures) - 1  # a new name for what is to be deleted
        picture(-1)
    found = []
    for cut in pictures:
        state, _ = resumed(cut)
        assert state is not None
        assert [float(state.step)] * 3 == state.tensors["training"]["w"].tolist()
        found.append(state.step)

    assert sorted(found) == found
    assert 3 == found[-1]
    assert any(pending)
    assert not pending[last]


def test_w12_folders_that_cannot_be_flushed(tmp_path: Path) -> None:
    """On a filesystem that flushes no folders a run is warned of it, and saved."""

    class Flat:
        """Flushes files only."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, fd: int) -> None:
            """Refused for folders."""
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    with pytest.warns(RuntimeWarning, match="cannot be flushed"):
        run = started(tmp_path / "a.run", (1,), os_=Flat())
    run.close()

    state, _ = resumed(run.folder)
    assert state is not None
    assert 1 == state.step


def test_w04_temporaries_of_every_kind_are_swept(tmp_path: Path) -> None:
    """A start removes what a kill left of states and of files, but not what a living
    process is writing."""
    folder = tmp_path / "a.run"
    started(folder, (1,)).close()
    (folder / ".step-000002.wpack-01234567.tmp").mkdir()
    (folder / ".config.json.wpack-01234567.tmp").touch()
    with durable.replacing(folder / "notes", 1) as output:
        output.write_at(b"n", 0)
        resumed(folder)
        living = [name for name in listing(folder) if name.endswith(".tmp")]

    assert 1 == len(living)
    assert living[0].startswith(".notes.wpack-")
    assert ["config.json", "log.jsonl", "notes", "step-000001"] == listing(folder)


def test_config_that_cannot_be_read(tmp_path: Path) -> None:
    """A config that the system does not give is not overwritten."""
    folder = tmp_path / "a.run"
    started(folder, (1,)).close()
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(StorageError) as caught:
        resumed(folder)

    assert f"{folder / 'config.json'}: cannot be read: Is a directory" == str(
        caught.value
    )
