"""Fuzzing, without atheris: what it starts from, changes to that, what it finds."""

from __future__ import annotations

import mmap
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

import pytest

from fuzz import NAMES, __main__, replay, target
from fuzz.corpus import FOLDER, files_of
from fuzz.target import Finding, Target, examine, named
from wpack.errors import FormatError, SpecError, UsageError

#: Changed inputs of each target.
CHANGES = 300


@pytest.mark.parametrize("name", NAMES)
def test_what_fuzzing_starts_from(name: str) -> None:
    """No input of the repository is a finding; some are accepted, most are not."""
    refusals = [examine(named(name), path.read_bytes()) for path in files_of(name)]
    accepted = refusals.count(None)

    assert 10 <= accepted < len(refusals)
    assert {type(r) for r in refusals if r} <= set(named(name).refusals)


@pytest.mark.parametrize("name", NAMES)
def test_changed_inputs(name: str) -> None:
    """Changes are the same for the same seed, go deep, and find nothing today."""
    inputs, found = [path.read_bytes() for path in files_of(name)], Counter[str]()
    for seed in range(CHANGES):
        random = Random(seed)
        pair = random.choice(inputs), random.choice(inputs)
        state = random.getstate()
        changed = named(name).mutate(*pair, random)
        random.setstate(state)
        if changed is not None:
            assert changed == named(name).mutate(*pair, random)
            refusal = examine(named(name), changed)
            found[str(refusal).partition(": ")[2][:30]] += 1

    assert len(found) >= 25, found


def test_the_inputs_are_small() -> None:
    """All of them together."""
    sizes = [path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()]

    assert 100_000 < sum(sizes) < 1_000_000


def test_no_target_needs_atheris() -> None:
    """Nor does anything but the engine; the targets have been imported by now."""
    assert [named(name).name for name in NAMES] == list(NAMES)
    assert "atheris" not in sys.modules


def reading(read: Callable[[bytes], Any]) -> Target:
    """A target that reads like this."""
    return Target("x", (), (FormatError, SpecError), read, lambda *_: None, ())


def raising(error: Exception) -> Target:
    """A target whose every input ends like this."""

    def read(data: bytes) -> None:
        raise error

    return reading(read)


def test_accepted_and_refused() -> None:
    """Neither is a finding."""
    refusal = FormatError("is odd", where="x")

    assert examine(reading(lambda data: None), b"") is None
    assert examine(raising(refusal), b"") is refusal


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (KeyError("w"), "'w'"),
        (UsageError("is no refusal of the target", where="x"), "x: is no refusal"),
        (FormatError("is odd"), "says is odd, but not where"),
        (FormatError("two\nlines", where="x"), r"says 'x: two\nlines', which is not"),
        (FormatError("red \x1b[31m", where="x"), r"says 'x: red \x1b[31m', which is"),
        (SpecError(["x:1:1: a", "x:1:2: \u202e"]), r"says 'x:1:2: \u202e', which is"),
        (SpecError([]), "refused without a word"),
    ],
)
def test_findings(error: Exception, says: str) -> None:
    """Other exceptions, and sentences that are none."""
    with pytest.raises((Finding, type(error))) as caught:
        examine(raising(error), b"")

    assert str(caught.value).startswith(says)


def test_what_takes_too_long_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor's clock."""
    monkeypatch.setattr(target, "SECONDS", 0.05)

    def read(data: bytes) -> None:
        end = process_time() + 0.2
        while process_time() < end:
            pass

    with pytest.raises(Finding, match=r"took 0\.[2-9] s"):
        examine(reading(read), b"")


@pytest.mark.skipif(sys.platform != "linux", reason="is measured as Linux measures it")
def test_what_takes_too_much_is_a_finding() -> None:
    """At its height, even if it is given back."""

    def read(data: bytes) -> None:
        # Not from the heap, which may have as much to spare.
        with mmap.mmap(-1, 250 << 20) as pages:
            for at in range(0, len(pages), mmap.PAGESIZE):
                pages[at] = 1

    with pytest.raises(Finding, match=r"took [23]\d\d MiB"):
        examine(reading(read), b"")


def test_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Says how each input ends."""
    sound, odd = FOLDER / "spec" / "parts", tmp_path / "odd"
    odd.write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["replay", "spec", str(sound), str(odd)])
    replay.main()
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == f"{sound}: accepted"
    assert lines[1].endswith(":1:1: is empty")


_LOG = """#196\tINITED cov: 654 ft: 1648 corp: 122/112Kb exec/s: 0 rss: 264Mb
#252\tREDUCE cov: 655 ft: 1650 corp: 123/112Kb lim: 131072 exec/s: 0 rss: 264Mb
Done 203188 runs in 61 second(s)
"""


def test_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of what libFuzzer says."""
    monkeypatch.setattr(__main__, "_branches", lambda name: "branches  97 % of 214")
    ended = __main__._ended("container", _LOG, 99, ())

    assert str(ended) == (
        "container         203,188 runs in    61 s    655 edges  branches  97 % of 214"
        "  no finding"
    )
    assert str(replace(ended, findings=(Path("x"),))).endswith("  1 finding")


def test_dictionary() -> None:
    """Every word as bytes, each once, the longest left out."""
    words = ("b", "a\n", "b", "", "\ud800", "x" * 65)

    assert __main__._dictionary(words) == '"\\x61\\x0a"\n"\\x62"\n"\\xed\\xa0\\x80"\n'


def test_findings_are_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run goes on with the next target, then says how to see it again."""
    found = __main__.BUILD / "spec" / "findings" / "crash-1"

    def run(name: str, seconds: int) -> __main__.Ended:
        findings = (found,) if name == "spec" else ()
        return __main__.Ended(name, 1, seconds, 2, "branches", findings)

    monkeypatch.setattr(__main__, "run", run)
    monkeypatch.setattr(__main__, "find_spec", lambda name: name)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--seconds", "3", "spec", "index"])
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    lines = capsys.readouterr().out.splitlines()

    assert caught.value.code == 1
    assert [line.split()[0] for line in lines[:2]] == ["spec", "index"]
    assert lines[2:] == [
        "To see it again: python -m fuzz.replay spec build/fuzz/spec/findings/crash-1"
    ]
