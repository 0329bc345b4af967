"""Disks that are really full (W01, T09) or read-only (W03, U06): a tmpfs of a few
pages, not a fake."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests import finetuning, jobs, small_disk
from tests.faulty_os import FaultyOs
from tests.finetuning import OUTPUT, RUN, STEPS, Whole
from tests.processes import Ended, ended
from wpack import api, durable
from wpack.errors import StorageError
from wpack.spec import spec_from_ratio

PAGE = mmap.PAGESIZE
SIZE = 100 * PAGE


def checked(done: Ended) -> Ended:
    """A job's end; skips the test where the system gives it no disk."""
    if done.status == small_disk.REFUSED:
        pytest.skip(done.out.strip())
    return done


def compress(output: str) -> None:
    """Write a .wpool of sixteen pages."""
    api.compress("m.safetensors", spec_from_ratio(2), output, force=True)


def inflate(output: str) -> None:
    """Write a checkpoint of 32 pages."""
    api.inflate("m.wpool", output, force=True)


def replace(output: str) -> None:
    """Write 32 pages where space cannot be claimed before: it runs out on the way."""
    system = FaultyOs(missing=("posix_fallocate",))
    nbytes = 32 * PAGE
    with durable.replacing(output, nbytes, force=True, os_=system) as file:
        for at_byte in range(0, nbytes, PAGE):
            file.write_at(bytes(PAGE), at_byte)


def fill_and_write(write: Callable[[str], None], output: str) -> None:
    """Replace a file on a full disk, and once more when there is room."""
    disk = Path("disk").absolute()
    disk.mkdir()
    small_disk.mount(disk, SIZE)
    weights = np.arange(32 * PAGE // 4, dtype="f4").reshape(32, -1)
    save_file({"w": weights}, disk / "m.safetensors")
    compress("m.wpool")
    (disk / output).write_bytes(b"the old file")
    with open("filler", "wb") as filler:
        filler.truncate(small_disk.free_nbytes(disk) - 8 * PAGE)
        os.posix_fallocate(filler.fileno(), 0, os.fstat(filler.fileno()).st_size)
    listed = set(os.listdir(disk))

    with pytest.raises(StorageError) as caught:
        write(output)

    words = str(caught.value).split()
    assert [f"{output}:", *"the disk is full: needs".split()] == words[:6]
    assert "bytes, BYTES free".replace("BYTES", words[8]).split() == words[7:]
    assert 8 * PAGE < int(words[6])
    assert int(words[8]) <= 8 * PAGE
    assert b"the old file" == (disk / output).read_bytes()
    assert listed == set(os.listdir(disk))

    os.unlink("filler")
    write(output)

    assert (disk / output).stat().st_size > 8 * PAGE


@pytest.mark.parametrize(
    ("write", "output"),
    [
        (compress, "out.wpool"),
        (inflate, "out.safetensors"),
        (inflate, "out.pt"),
        (replace, "out.bin"),
    ],
)
def test_w01_full_disk(
    tmp_path: Path, write: Callable[[str], None], output: str
) -> None:
    """The old file stays as it was, nothing is left beside it, the message has both
    sizes; with room the same call works."""
    done = checked(ended(tmp_path, fill_and_write, write, output))

    assert "" == done.err
    assert 0 == done.status


def read_only(*words: str) -> None:
    """Run a command with HOME and the current folder on a disk that is read-only."""
    disk = Path("disk").absolute()
    disk.mkdir()
    small_disk.mount(disk, SIZE)
    save_file({"w": np.ones((32, 32), "f4")}, "m.safetensors")
    compress("m.wpool")
    os.environ["HOME"] = str(disk)
    small_disk.protect(disk)
    jobs.command(*words)


@pytest.mark.parametrize(
    "words", ["stats m.wpool", "verify m.wpool", "plan m.safetensors --ratio 2"]
)
def test_u06_read_only_home_and_folder(tmp_path: Path, words: str) -> None:
    """Whoever only reads needs to write nowhere."""
    done = checked(ended(tmp_path, read_only, *words.split()))

    assert (0, "") == (done.status, done.err)


def test_w03_read_only_disk(tmp_path: Path) -> None:
    """A disk that may not be written to is named."""
    words = "compress m.safetensors --ratio 2 -o new.wpool"
    done = checked(ended(tmp_path, read_only, *words.split()))

    assert (1, "") == (done.status, done.out)
    assert "wpack: error: new.wpool: the filesystem of . is read-only\n" == done.err


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run whose disk is large enough."""
    return finetuning.whole(tmp_path_factory.mktemp("runs"))


def train_on_a_small_disk(nbytes: int, *arguments: str) -> None:
    """Train on a disk of this size, then go on with more room; what the run left in
    between is listed, and the result copied out."""
    home = Path.cwd()
    disk = home / "disk"
    disk.mkdir()
    small_disk.mount(disk, nbytes)
    with pytest.raises(SystemExit) as left:
        jobs.command(*arguments)
    found = sorted(path.name for path in Path(RUN).iterdir())
    print(left.value.code, *found, Path(OUTPUT).exists(), flush=True)
    small_disk.resize(disk, 1 << 20)
    with pytest.raises(SystemExit) as left:
        jobs.command(*arguments)
    (home / OUTPUT).write_bytes(Path(OUTPUT).read_bytes())
    raise left.value


def test_t09_training_on_a_full_disk(whole: Whole) -> None:
    """What cannot be saved in between is told and outlived; at the end it is an error,
    and the last good state is there.  With room the run goes on from it, and its result
    is the whole run's."""
    words = finetuning.arguments()
    arguments = [f"../{word}" if "../" in word else word for word in words]
    state = whole.folder / "whole" / RUN / f"step-{STEPS:06d}"
    pages = sum(-(-path.stat().st_size // PAGE) for path in state.iterdir())
    nbytes = (3 + pages + pages // 2) * PAGE
    done = checked(
        ended(whole.folder / "small", train_on_a_small_disk, nbytes, *arguments)
    )
    assert 0 == done.status, done.err

    first, _, second = done.err.partition(": resuming at step 2")
    told = [line for line in first.splitlines() if "the disk is full" in line]

    assert "1 config.json log.jsonl step-000002 False" == done.out.splitlines()[0]
    assert STEPS // 2 - 1 == len(told)
    for line, step in zip(told[:-1], range(4, STEPS, 2), strict=True):
        assert line.startswith(f"wpack: note: {RUN}/step-{step:06d}: the disk is full:")
        assert line.endswith("; training goes on; the state of step 2 is kept")
    assert told[-1].startswith(f"wpack: error: {RUN}/step-{STEPS:06d}: the disk is")
    assert "disk is full" not in second
    assert whole.result == (whole.folder / "small" / OUTPUT).read_bytes()
