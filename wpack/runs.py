"""Run folders: a training run that a crash, a full disk or a signal cannot lose.

::

    OUT.run/
      config.json             what the run is made of; a changed one is not resumed
      initial.safetensors     the first weights, where there was no checkpoint
      fisher.safetensors      what an error in each weight costs, where asked for
      log.jsonl               one line an event, flushed line by line
      step-000120/            a state of the run; the newest two are kept
        training.safetensors
        best.safetensors
        state.json
        MANIFEST.json         sizes and SHA-256 of the files, written last

A state is written under another name, flushed, and renamed; older ones are deleted
after that and never before.  There is no pickle in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from . import agreement, durable, states
from .errors import StorageError, UsageError
from .journal import Journal
from .temporaries import Calls, remove_if_dead

#: States that stay on disk.
KEEP = 2
#: The first weights of a run without a checkpoint.
INITIAL = "initial.safetensors"
#: The Fisher information that the run goes by.
FISHER = "fisher.safetensors"

_STATE = re.compile(r"step-(\d{6,})")
_TEMPORARY = re.compile(r"\..+\.wpack-[0-9a-f]{8}\.tmp")


@dataclass(frozen=True)
class State:
    """One state of a run, read back.

    Attributes:
        step: Steps taken.
        values: What was saved as JSON.
        tensors: File → name → tensor, on the CPU.
    """

    step: int
    values: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


class Run:
    """A run's folder.

    Args:
        folder: Made by :meth:`start` where it is not there.
        resume: Go on from the newest complete state; with none, start afresh.
        allow_mismatch: Resume although the run was started with other settings.
        os_: Stands in for the ``os`` module, for tests that make its calls fail.

    Raises:
        UsageError: The folder is not empty and ``resume`` is not given, or it holds
            something else.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        resume: bool = False,
        allow_mismatch: bool = False,
        os_: Any = os,
    ) -> None:
        self.folder = Path(folder)
        self.resume = resume
        self.allow_mismatch = allow_mismatch
        self.notes: list[str] = []
        self._os = os_
        self._journal: Journal | None = None
        self._config_sha256 = ""
        self._complete: list[int] = []
        self._check_folder()

    def start(
        self,
        config: Mapping[str, Any],
        bound: Collection[str] = (),
        steps: int | None = None,
    ) -> State | None:
        """Take possession of the folder and find the state to go on from.

        Args:
            config: What the run is made of, as JSON values: a resumed run must have
                been started with the same.
            bound: Keys of it, with dots between, that no mismatch is allowed in: what
                was saved would not fit.
            steps: The run's last one, if it is known.

        Returns:
            The newest complete state, or None for a new run; :attr:`notes` says which,
            and what was passed over.

        Raises:
            UsageError: The run was started with another ``config``, which the message
                compares, is beyond its last step, or another process is writing to it.
            StorageError: The operating system refused.
        """
        durable.make_folder(self.folder, os_=self._os)
        self._journal = Journal(self.folder / "log.jsonl", os_=self._os)
        self._sweep()
        path = self.folder / "config.json"
        text = json.dumps(config, indent=1, sort_keys=True, allow_nan=False)
        self._config_sha256 = hashlib.sha256(text.encode()).hexdigest()
        known = agreement.read(path)
        if known is not None:
            self.notes += agreement.check(
                known, json.loads(text), self.folder, bound, self.allow_mismatch
            )
        state = self._newest()
        if state is not None and steps is not None and state.step > steps:
            raise UsageError(
                f"the run has taken {state.step} steps, and is to end after {steps}",
                where=self.folder,
                hint="Set finetune.steps or epochs to more, or start a run in another"
                " folder",
            )
        if known != json.loads(text):
            durable.write_text(path, text + "\n", force=True, os_=self._os)
        if self.resume:
            found = f"resuming at step {state.step}" if state else "nothing to resume"
            self.notes.append(f"{self.folder}: {found}")
        return state

    def save(
        self,
        step: int,
        values: Mapping[str, Any],
        tensors: Mapping[str, Mapping[str, Tensor]],
    ) -> Path:
        """Write a state durably, then delete all but the newest :data:`KEEP`.

        A step whose state is there already is not written again: what a step leads to
        is decided.

        Args:
            values: JSON values.
            tensors: File → name → tensor.

        Raises:
            StorageError: The operating system refused; all older states are as they
                were.
        """
        final = self._state(step)
        if step in self._complete:
            return final
        temporary = self._temporary(final)
        call = Calls(self._os, str(final), str(final), states.nbytes(tensors))
        try:
            call("making a folder", "mkdir", temporary)
            states.write(temporary, values, tensors, self._config_sha256, self._os)
            if final.exists():  # passed over by start(): not complete
                self._remove(final)
            call("renaming", "rename", temporary, final)
            durable.flush_folder(self.folder, os_=self._os)
        except BaseException as error:
            shutil.rmtree(temporary, ignore_errors=True)
            if isinstance(error, StorageError) and isinstance(error.__cause__, OSError):
                # It is the whole state that needs room, not the file it ran out at.
                raise call.refusal(error.__cause__, "saving") from error
            raise
        self._complete = sorted({*self._complete, step})
        while len(self._complete) > KEEP:
            self._remove(self._state(self._complete.pop(0)))
        return final

    def log(self, record: Mapping[str, Any]) -> None:
        """Add one line to ``log.jsonl``; see :meth:`wpack.journal.Journal.write`."""
        if self._journal is not None:
            self._journal.write(record)

    def close(self) -> None:
        """Give the folder up; other processes may go on with the run."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check_folder(self) -> None:
        try:
            found = set(os.listdir(self.folder))
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(
                f"cannot be a run folder: {error.strerror}", where=self.folder
            ) from None
        found -= {INITIAL, FISHER}  # left by a start that came no further
        if not found:
            return
        if not self.resume:
            raise UsageError(
                "the run folder is not empty",
                where=self.folder,
                hint="--resume auto goes on with the run in it",
            )
        strange = {n for n in found if n != "log.jsonl" and not _TEMPORARY.fullmatch(n)}
        if strange and "config.json" not in found:
            raise UsageError(
                "is no run folder: it holds other things and no config.json",
                where=self.folder,
            )

    def _sweep(self) -> None:
        """Remove what a killed process left half written or half deleted."""
        for name in os.listdir(self.folder):
            if not _TEMPORARY.fullmatch(name):
                continue
            if (self.folder / name).is_dir():
                shutil.rmtree(self.folder / name, ignore_errors=True)
            else:
                remove_if_dead(self.folder / name)

    def _newest(self) -> State | None:
        """The newest complete state; the others are noted."""
        found = {
            int(match[1]): self.folder / match[0]
            for name in os.listdir(self.folder)
            if (match := _STATE.fullmatch(name))
        }
        newest = None
        for step in sorted(found, reverse=True):
            fault = states.fault(found[step])
            if fault:
                self.notes.append(f"{found[step]}: passed over, {fault}")
                continue
            self._complete.insert(0, step)
            if newest is None:
                newest = State(step, *states.read(found[step]))
        return newest

    def _state(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _temporary(self, target: Path) -> Path:
        return self.folder / f".{target.name}.wpack-{secrets.token_hex(4)}.tmp"

    def _remove(self, folder: Path) -> None:
        """Delete a state; another name first, so that no half of one is found."""
        doomed = self._temporary(folder)
        with suppress(OSError):
            self._os.rename(folder, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
