"""A run's folder through anything that can happen to it, in any order: hypothesis
saves, fails, kills, cuts the power, damages and resumes, and looks what is left."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.power_cut import PowerCut
from tests.run_folders import CONFIG, Watched, listing, save
from wpack import states
from wpack.errors import StorageError, UsageError
from wpack.runs import KEEP, Run

running = precondition(lambda machine: machine.run is not None)
stopped = precondition(lambda machine: machine.run is None)
#: Which system call of a save something happens at; a save has about fifty.
calls = st.integers(1, 60)


class RunMachine(RuleBasedStateMachine):
    """The model is the set of steps whose states are whole."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.folder = self.home / "a.run"
        self.run: Run | None = None
        self.whole: set[int] = set()
        self.step = 0
        self.failures = 0
        self.pictures = 0

    def teardown(self) -> None:
        """Nothing is left of an example."""
        if self.run is not None:
            self.run.close()
        shutil.rmtree(self.home)

    @initialize()
    def begin(self) -> None:
        """A new run."""
        self.system = PowerCut()
        self.watched = Watched(lambda number: None, self.system)
        self.run = Run(self.folder, os_=self.watched)
        assert self.run.start(CONFIG) is None

    @stopped
    @rule()
    def resume(self) -> None:
        """The newest whole state is found, with its own weights; rubbish is gone."""
        self.system = PowerCut()
        self.watched = Watched(lambda number: None, self.system)
        self.run = Run(self.folder, resume=True, os_=self.watched)
        state = self.run.start(CONFIG)
        found = None if state is None else state.step
        assert max(self.whole, default=None) == found
        if state is not None:
            expected = [float(state.step)] * 3
            assert expected == state.tensors["training"]["w"].tolist()
            assert {"step": state.step} == state.values
        self.step = found or 0
        self.failures = 0
        assert not [name for name in listing(self.folder) if name.endswith(".tmp")]

    @running
    @rule(steps=st.integers(1, 3))
    def train_and_save(self, steps: int) -> None:
        """A save that nothing disturbs is the newest state, and old ones go: a disk
        that holds a few is large enough for any run."""
        assert self.run is not None
        self.step += steps
        save(self.run, self.step)
        self.settle()
        assert self.step in self.whole
        assert len(self.whole) <= KEEP + self.failures

    @running
    @rule(at=calls, code=st.sampled_from([errno.ENOSPC, errno.EIO, errno.EINTR]))
    def fail_to_save(self, at: int, code: int) -> None:
        """A save that fails takes nothing away, and the run goes on."""

        def fail(number: int) -> None:
            if number == at:
                raise OSError(code, os.strerror(code))

        self.disturbed(fail)
        self.settle()
        self.failures += 1

    @running
    @rule(at=calls)
    def kill_while_saving(self, at: int) -> None:
        """What a kill leaves is what there was at that call."""
        self.replaced_by_a_picture(at, shutil.copytree)

    @running
    @rule(at=calls)
    def cut_the_power_while_saving(self, at: int) -> None:
        """Of what was not flushed nothing is left."""
        self.replaced_by_a_picture(at, self.system.picture)

    @running
    @rule()
    def kill(self) -> None:
        """A kill between two steps; closing does no more than the kernel would."""
        assert self.run is not None
        self.run.close()
        self.run = None

    @running
    @rule()
    def log(self) -> None:
        """A line of the log."""
        assert self.run is not None
        self.run.log({"event": "step", "step": self.step})

    @running
    @rule()
    def start_another_process(self) -> None:
        """One writer at a time; the other is told, and changes nothing."""
        with pytest.raises(UsageError, match="another process is writing to this run"):
            Run(self.folder, resume=True).start(CONFIG)

    @stopped
    @rule()
    def start_with_other_settings(self) -> None:
        """Refused, and everything stays for the right ones."""
        with Run(self.folder, resume=True) as run:
            with pytest.raises(UsageError, match="was started with other settings"):
                run.start({**CONFIG, "plan": "b" * 64})

    @stopped
    @rule(file=st.sampled_from(["MANIFEST.json", "state.json", "best.safetensors"]))
    def damage_the_newest(self, file: str) -> None:
        """A bit flips in the newest state: the one before it counts."""
        if not self.whole:
            return
        newest = max(self.whole)
        path = self.folder / f"step-{newest:06d}" / file
        data = path.read_bytes()
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert self.whole - {newest} == self.found()
        self.whole.remove(newest)

    @invariant()
    def log_is_whole(self) -> None:
        """Every line of the log can be read, whatever came in between."""
        path = self.folder / "log.jsonl"
        if self.run is not None:
            for line in path.read_bytes().splitlines():
                json.loads(line)

    def disturbed(self, before: object) -> None:
        """Save the next step, with something happening at one of its calls."""
        assert self.run is not None
        self.step += 1
        self.watched.count = 0
        self.watched._before = before
        try:
            save(self.run, self.step)
        except StorageError:
            pass
        finally:
            self.watched._before = lambda number: None

    def replaced_by_a_picture(self, at: int, copy: object) -> None:
        """The run's process ends at a call of a save, and leaves what a copy shows."""
        assert self.run is not None
        self.pictures += 1
        picture = self.home / f"picture-{self.pictures}"

        def take(number: int) -> None:
            if number == at:
                copy(self.folder, picture)  # type: ignore[operator]

        self.disturbed(take)
        if not picture.exists():  # the save was over before
            copy(self.folder, picture)  # type: ignore[operator]
        self.run.close()
        self.run = None
        shutil.rmtree(self.folder)
        picture.rename(self.folder)
        self.settle()

    def settle(self) -> None:
        """After a save, disturbed or not: none of the newest states has gone, but for
        what a newer one that is whole has taken the place of."""
        found = self.found()
        newest = sorted(self.whole | (found & {self.step}))[-KEEP:]
        assert set(newest) <= found <= self.whole | {self.step}
        self.whole = found

    def found(self) -> set[int]:
        """The steps whose states are whole."""
        return {
            int(path.name.removeprefix("step-"))
            for path in self.folder.glob("step-*")
            if not states.fault(path)
        }


TestRunMachine = RunMachine.TestCase
TestRunMachine.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
