"""What a target is, and what counts as a finding.

An input is either accepted, and then everything that its target checks is true, or
refused in one sentence that names its place.  Anything else is a finding: another
exception, a sentence that could steer a terminal, a second of processor time, 200 MiB.
"""

from __future__ import annotations

import importlib
import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from wpack.errors import SpecError, WpackError

#: Processor time and memory that an input may take, as ``tests/hostile`` has it.
SECONDS, MEBIBYTES = 1.0, 200

_PEAK = re.compile(rb"VmHWM:\s*(\d+) kB")


class Finding(AssertionError):
    """An input did what no input may do."""


@dataclass(frozen=True)
class Target:
    """One way into wpack.

    Attributes:
        name: Its file in this folder.
        aims: The modules whose branches it is to reach.
        refusals: What reading a bad input may raise.
        read: Reads an input as wpack would, and checks what was accepted.
        mutate: ``(input, another input, random)`` → an input much like the first, its
            framing mended; None where it has none that could be.
        words: What inputs are made of, for changes that know nothing of them.
    """

    name: str
    aims: tuple[str, ...]
    refusals: tuple[type[WpackError], ...]
    read: Callable[[bytes], object]
    mutate: Callable[[bytes, bytes, Random], bytes | None]
    words: tuple[str, ...]


def named(name: str) -> Target:
    """The target that ``fuzz/<name>.py`` defines."""
    found = importlib.import_module(f"fuzz.{name}").TARGET
    assert isinstance(found, Target)
    return found


def examine(target: Target, data: bytes) -> WpackError | None:
    """Read one input; returns why it was refused, or None where it was accepted.

    Raises:
        Finding: It took too long or too much, was refused in no proper sentence, or
            was accepted and something about it is not true.
        Exception: Whatever else wpack let through, a finding as well.
    """
    _forget_peak()
    before, started = _peak(), time.process_time()
    refusal: WpackError | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            target.read(data)
        except target.refusals as error:
            refusal = error
    seconds = time.process_time() - started
    mebibytes = (_peak() - before) >> 10
    if refusal is not None:
        check_sentences(refusal)
    insist(seconds <= SECONDS, f"took {seconds:.1f} s")
    insist(mebibytes <= MEBIBYTES, f"took {mebibytes} MiB")
    return refusal


def check_sentences(error: WpackError) -> None:
    """Each is one line that begins with its place and shows what it quotes escaped."""
    sentences = [str(error)]
    if isinstance(error, SpecError):
        sentences = list(error.problems)
    insist(len(sentences) > 0, "refused without a word")
    for sentence in sentences:
        insist(sentence.isprintable(), f"says {sentence!r}, which is not one line")
    if not isinstance(error, SpecError):
        insist(bool(error.where), f"says {error}, but not where")


def insist(fact: bool, otherwise: str) -> None:
    """Raise a finding unless something is true."""
    if not fact:
        raise Finding(otherwise)


def temporary() -> TemporaryDirectory[str]:
    """A folder, in memory where the system has such: making and removing files is most
    of the work on small ones."""
    shared = Path("/dev/shm")
    there = shared.is_dir() and os.access(shared, os.W_OK)
    return TemporaryDirectory(prefix="wpack-fuzz-", dir=shared if there else None)


@cache
def folder() -> Path:
    """The folder of this process: one that it was given, since libFuzzer ends it
    without another word, or one that goes when it ends."""
    given = os.environ.get(VARIABLE)
    if given is None:
        _MADE.append(temporary())
        given = _MADE[-1].name
    return Path(given).resolve()


#: What gives a process its folder.
VARIABLE = "FUZZ_FOLDER"
_MADE: list[TemporaryDirectory[str]] = []


@cache
def _status() -> int | None:
    """A descriptor of what Linux says of this process; other systems do not say it."""
    path = Path("/proc/self/status")
    return os.open(path, os.O_RDONLY) if path.exists() else None


@cache
def _clear() -> int | None:
    path = Path("/proc/self/clear_refs")
    return os.open(path, os.O_WRONLY) if path.exists() else None


def _forget_peak() -> None:
    clear = _clear()
    if clear is not None:
        os.pwrite(clear, b"5", 0)


def _peak() -> int:
    """The most memory this process had since :func:`_forget_peak`, in KiB."""
    status = _status()
    found = _PEAK.search(os.pread(status, 4096, 0)) if status is not None else None
    return int(found[1]) if found else 0
