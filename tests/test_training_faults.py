"""Training that is interrupted, killed, starved of disk or led astray: real signals to
real processes, and what is left to go on from (faults T01 … T09)."""

from __future__ import annotations

import random
import re
import signal
import time
from pathlib import Path

import pytest

from tests import finetuning, jobs
from tests.finetuning import OUTPUT, RUN, SAVE_EVERY, STEPS, Whole, arguments
from tests.processes import CONTEXT, Job, ended

SAMPLE = Path(__file__).parents[1] / "samples" / "digits"
#: Place → which time that it is come by, and the step whose state is saved then.
PLACES = {
    "starting": (1, 0),
    "training": (7, 7),
    "evaluation": (5, 4),
    "saving": (6, 4),
}
SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGUSR1: 143}
#: Runs that are killed at a call of a function, anywhere.
KILLS = 20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run that nobody ends."""
    return finetuning.whole(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def place(whole: Whole, request: pytest.FixtureRequest) -> Path:
    """A folder for a run of its own."""
    name = re.sub(r"\W", "-", request.node.name)
    (whole.folder / name).mkdir()
    return whole.folder / name


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("where", PLACES)
def test_t01_t02_one_signal(
    whole: Whole, place: Path, where: str, number: signal.Signals
) -> None:
    """Wherever it comes: the step is finished, the run is saved and says how to go on,
    there is no output yet; gone on with, the file is that of the whole run."""
    at, step = PLACES[where]
    done = ended(place, jobs.signalled, [(where, at, number)], *arguments())

    assert SIGNALS[number] == done.status
    assert "" == done.out
    assert done.err.endswith(
        f"wpack: step {step}: saved {RUN}/step-{step:06d}\n"
        f"wpack: error: {RUN}: stopped after step {step} of {STEPS}."
        " --resume auto goes on from there\n"
    )
    assert "wpack: stopping after this step; another signal stops at once" in done.err
    assert step == finetuning.saved(place)[-1]
    assert [] == finetuning.temporaries(place)
    assert not (place / OUTPUT).exists()
    assert step == finetuning.resumed(place)
    assert whole.result == (place / OUTPUT).read_bytes()


def test_t02_a_signal_when_the_work_is_done(whole: Whole, place: Path) -> None:
    """While the result is written there is nothing to interrupt: it is written."""
    moments = [("finishing", 1, signal.SIGTERM)]
    done = ended(place, jobs.signalled, moments, *arguments())

    assert 0 == done.status
    assert whole.result == (place / OUTPUT).read_bytes()


@pytest.mark.parametrize("where", ["training", "saving"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_t01_second_signal(
    whole: Whole, place: Path, where: str, number: signal.Signals
) -> None:
    """The second ends it at once, in the middle of a save or before one: the last good
    state is the one to go on from."""
    second = {"training": ("training", 7, number), "saving": ("saving", 14, number)}
    moments = [("training", 7, signal.SIGTERM), second[where]]
    if where == "training":  # both at once
        moments = [("training", 7, number), ("training", 7, number)]
    done = ended(place, jobs.signalled, moments, *arguments())

    assert SIGNALS[number] == done.status
    assert "Traceback" not in done.err
    assert [4, 6] == finetuning.saved(place)
    assert [] == finetuning.temporaries(place)
    assert 6 == finetuning.resumed(place)
    assert whole.result == (place / OUTPUT).read_bytes()


@pytest.mark.parametrize("where", ["training", "evaluation", "saving"])
def test_t02_five_seconds_on_the_samples(tmp_path: Path, where: str) -> None:
    """A batch system that asks the sample's run to end, by a signal from outside, gets
    a saved state and status 143 in under five seconds."""
    pytest.importorskip("sklearn")
    words = f"finetune {SAMPLE}/vit.safetensors -s {SAMPLE}/vit.yaml -o {OUTPUT}"
    more = ["--device", "cpu", "--set", "finetune.save_every=2"]
    receiving, sending = CONTEXT.Pipe(duplex=False)
    job = Job(tmp_path, jobs.announced, where, 4, sending, *words.split(), *more)
    sending.close()

    assert receiving.poll(60)
    assert where == receiving.recv()

    began = time.monotonic()
    job.send(signal.SIGTERM)
    done = job.wait()
    seconds = time.monotonic() - began

    assert 143 == done.status
    assert seconds < 5
    assert 1 == len(finetuning.saved(tmp_path)[-1:])


@pytest.fixture(scope="module")
def calls(whole: Whole) -> int:
    """How many calls of functions a run makes before it writes its result."""
    done = ended(whole.folder / "calls", jobs.killed_at_call, 0, *arguments())
    (number,) = re.findall(r"^calls: (\d+)$", done.err, re.MULTILINE)
    return int(number)


@pytest.mark.parametrize("kill", range(KILLS))
def test_t04_t06_killed_anywhere(
    whole: Whole, place: Path, calls: int, kill: int
) -> None:
    """``kill -9`` at any call of a run costs the steps since the last save, and nothing
    of the result: it is the whole run's, bit for bit."""
    share = (kill + random.Random(kill).random()) / KILLS
    at = max(1, int(share * calls))
    done = ended(place, jobs.killed_at_call, at, *arguments())
    told = finetuning.told(place)

    assert -signal.SIGKILL == done.status
    assert told - finetuning.resumed(place) <= SAVE_EVERY
    assert whole.result == (place / OUTPUT).read_bytes()


def test_t04_t06_killed_by_the_clock(whole: Whole, place: Path) -> None:
    """Killed from outside a moment after each state it saves: the run arrives, never
    falls back by more than a save, and gives the same bits."""
    draw = random.Random(0)
    kills = 0
    while not (place / OUTPUT).exists():
        before = max(finetuning.saved(place), default=0)
        job = Job(place, jobs.slowed, 0.05, *arguments())
        while job.running() and max(finetuning.saved(place), default=0) <= before:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        kills += job.running()
        job.send(signal.SIGKILL)
        job.wait()
        newest = max(finetuning.saved(place), default=0)
        assert finetuning.told(place) - newest <= SAVE_EVERY

    assert whole.result == (place / OUTPUT).read_bytes()
    assert kills > 1


def test_t08_nan_loss(whole: Whole, place: Path) -> None:
    """A loss that is no number ends the process with the step's number; the last good
    state is kept, and leads to the whole run's result once the trouble is over."""
    exploding = [*arguments(), "--task", "tests.jobs:exploding"]
    done = ended(place, jobs.command, *exploding)

    assert 1 == done.status
    assert done.err.endswith(
        f"wpack: error: {RUN}: the loss is nan at step 7; the state of step 6 is kept."
        " Lower finetune.optimizer.lr, or set finetune.clip_norm\n"
    )
    assert [4, 6] == finetuning.saved(place)
    assert not (place / OUTPUT).exists()
    assert 6 == finetuning.resumed(place, "--allow-mismatch")  # of the task
    assert whole.result == (place / OUTPUT).read_bytes()
