"""Every hostile input is refused by every command: in one sentence, with nothing
written, in no time and no memory, and by the command itself, not by a signal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.hostile.case import COMMANDS, OF_TORCH, Case, Maker
from tests.hostile.catalogue import CASES
from tests.hostile.warm import MEBIBYTE, Ended, Warm


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_refused(
    light: Warm, heavy: Warm, shelf: dict[str, str], tmp_path: Path, make: Maker
) -> None:
    """Exit status, sentence, streams, files, time and memory, of every command."""
    case = make(tmp_path)
    before = listing(tmp_path)
    faults = []
    for name in (*case.commands, *case.but):
        warm = heavy if case.torch or name in OF_TORCH else light
        arguments = words(name, case.file, shelf)
        ended = warm.run(tmp_path, *arguments, mebibytes=case.mebibytes)
        faults += [f"{name}: {fault}" for fault in faults_of(case, name, ended)]

    assert faults == []
    assert listing(tmp_path) == before


def words(name: str, file: str, shelf: Mapping[str, str]) -> list[str]:
    """A command's arguments."""
    return [word.format(file=file, **shelf) for word in COMMANDS[name].split()]


def faults_of(case: Case, name: str, ended: Ended) -> Iterator[str]:
    """What is wrong with how a command ended."""
    said = said_by(name, case.file, ended)
    expected = case.but.get(name, case.says)
    if ended.status != case.status:
        yield f"exit status {ended.status}, not {case.status}"
    if said != expected:
        yield f"says {said!r}, not {expected!r}"
    if ended.seconds > case.seconds:
        yield f"took {ended.seconds} s"
    if ended.nbytes > case.mebibytes * MEBIBYTE:
        yield f"took {ended.nbytes} bytes"


def said_by(name: str, file: str, ended: Ended) -> str:
    """The sentence, out of where the command puts it; everything it printed, where
    that is anything else."""
    whole = ended.out + ended.err
    if name == "verify":
        begin = f"{file}: 1 problem\n  "
        if ended.out.startswith(begin) and not ended.err:
            return f"{file}: {ended.out.removeprefix(begin)[:-1]}"
    elif name.endswith("--json"):
        if not ended.out and ended.err.startswith('{"error": '):
            error = json.loads(ended.err)["error"]
            hint = f". {error['hint']}" if error["hint"] else ""
            return f"{error['path']}: {error['message']}{hint}"
    else:
        lines = whole.splitlines(keepends=True)
        begin = "wpack: error: "
        if not ended.out and all(line.startswith(begin) for line in lines):
            return "".join(line.removeprefix(begin) for line in lines)[:-1]
    return whole


def listing(folder: Path) -> dict[str, int]:
    """Everything in a folder, and its size."""
    return {
        str(path.relative_to(folder)): path.lstat().st_size
        for path in folder.rglob("*")
    }
