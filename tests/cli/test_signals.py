"""SIGINT and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from wpack.cli._signals import ending, finishing


def test_first_is_noted_second_ends(capfd: pytest.CaptureFixture[str]) -> None:
    """The work is asked to stop; the next signal does not ask."""
    with finishing() as stop:
        assert stop() == 0

        os.kill(os.getpid(), signal.SIGTERM)

        assert stop() == 143
        with pytest.raises(SystemExit) as left:
            os.kill(os.getpid(), signal.SIGINT)

    assert left.value.code == 130
    assert capfd.readouterr().err == (
        "wpack: stopping after this step; another signal stops at once\n"
    )


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGUSR1, 143)]
)
def test_others_are_noted(
    capfd: pytest.CaptureFixture[str], number: signal.Signals, status: int
) -> None:
    """Ctrl-C asks like SIGTERM, with a status of its own; a batch system's SIGUSR1
    asks with that of SIGTERM."""
    with finishing() as stop:
        os.kill(os.getpid(), number)

        assert stop() == status


def test_passed_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a batch system sends to all processes torchrun passes on to them as well:
    that is one signal, and one of the processes tells of it."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    now = [5.0]
    monkeypatch.setattr("wpack.cli._signals.time.monotonic", lambda: now[0])
    with finishing() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += 1.9
        os.kill(os.getpid(), signal.SIGTERM)

        assert stop() == 143
        now[0] += 0.2
        with pytest.raises(SystemExit) as left:
            os.kill(os.getpid(), signal.SIGTERM)

    assert left.value.code == 143
    assert capfd.readouterr().err == ""


def test_sigterm_is_an_exception() -> None:
    """So that whatever is being written is cleaned up."""
    with ending(), pytest.raises(SystemExit) as left:
        os.kill(os.getpid(), signal.SIGTERM)

    assert left.value.code == 143


def test_handlers_are_put_back() -> None:
    """Afterwards signals do what they did before."""
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with ending(), finishing():
        pass

    assert before == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]


def test_ignored_signals_stay_ignored() -> None:
    """``nohup`` and background jobs are left as they are."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with finishing() as stop:
            os.kill(os.getpid(), signal.SIGINT)

            assert stop() == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads() -> None:
    """Outside the main thread, where handlers are not allowed, there are none."""
    found: list[int] = []

    def work() -> None:
        with ending(), finishing() as stop:
            found.append(stop())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found == [0]
