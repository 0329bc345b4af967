"""A run's log."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
from pathlib import Path

import pytest

from tests.faulty_os import FaultyOs
from wpack import journal
from wpack.errors import StorageError, UsageError
from wpack.journal import Journal


def test_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record is a line of JSON with its time, on disk at once."""
    monkeypatch.setattr(journal.time, "time", lambda: 12.34567)
    path = tmp_path / "log.jsonl"
    log = Journal(path)
    log.write({"event": "note", "text": "é\n"})
    log.write({"loss": math.nan, "metrics": {"a": math.inf, "b": 0.5}})
    lines = path.read_text("utf-8").splitlines()
    log.close()

    assert [
        {"time": 12.346, "event": "note", "text": "é\n"},
        {"time": 12.346, "loss": None, "metrics": {"a": None, "b": 0.5}},
    ] == [json.loads(line) for line in lines]


def test_lines_are_added(tmp_path: Path) -> None:
    """A log that is there is gone on with."""
    for number in (1, 2):
        log = Journal(tmp_path / "log.jsonl")
        log.write({"number": number})
        log.close()

    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [1, 2] == [json.loads(line)["number"] for line in lines]


def test_one_writer(tmp_path: Path) -> None:
    """A second writer is refused while the first one lives."""
    first = Journal(tmp_path / "log.jsonl")
    with pytest.raises(UsageError) as caught:
        Journal(tmp_path / "log.jsonl")
    first.close()

    assert f"{tmp_path}: another process is writing to this run. Wait" in str(
        caught.value
    )
    Journal(tmp_path / "log.jsonl").close()


def test_no_folder(tmp_path: Path) -> None:
    """A log that cannot be opened is told with the reason."""
    path = tmp_path / "no" / "log.jsonl"
    with pytest.raises(StorageError) as caught:
        Journal(path)

    assert f"{path}: cannot be written: No such file or directory" == str(caught.value)


def test_full_disk() -> None:
    """A line that does not fit is told, not lost quietly, and closing tells no more."""
    log = Journal(Path("/dev/full"))
    with pytest.raises(StorageError) as caught:
        log.write({"a": 1})

    assert "/dev/full: cannot be written: No space left on device" == str(caught.value)
    log.close()
    log.close()


class Cramped(FaultyOs):
    """A disk with room for seven more bytes, until it is emptied."""

    room = 7

    def write(self, fd: int, data: bytes) -> int:
        """As much as there is room for."""
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        done = os.write(fd, data[: self.room])
        self.room -= done
        return done


def test_a_line_that_fits_in_part_is_taken_back(tmp_path: Path) -> None:
    """A full disk never leaves half a line, and later lines are whole."""
    system = Cramped()
    log = Journal(tmp_path / "log.jsonl", os_=system)
    with pytest.raises(StorageError, match="No space left on device"):
        log.write({"number": 1})
    assert b"" == (tmp_path / "log.jsonl").read_bytes()

    system.room = 1000
    log.write({"number": 2})
    log.close()

    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert 2 == json.loads(line)["number"]


def test_a_line_that_a_kill_cut_short_is_taken_back(tmp_path: Path) -> None:
    """What follows the last whole line goes when the run is gone on with."""
    path = tmp_path / "log.jsonl"
    for left, kept in ((b'{"a": 1}\n{"b', b'{"a": 1}\n'), (b'{"a', b""), (b"", b"")):
        path.write_bytes(left)
        Journal(path).close()

        assert kept == path.read_bytes()


@pytest.mark.parametrize("missing", ["from the filesystem", "from Python"])
def test_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Where there are no locks, a log is written as any other, by any number."""
    if missing == "from Python":
        monkeypatch.setattr(journal, "fcntl", None)
    else:

        def refuse(fd: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
    first, second = (Journal(tmp_path / "log.jsonl") for _ in range(2))
    for number, log in enumerate((first, second, first)):
        log.write({"number": number})
    first.close()
    second.close()

    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [0, 1, 2] == [json.loads(line)["number"] for line in lines]
