"""How commands end: exit statuses, and what stderr says."""

from __future__ import annotations

import errno
import json

import click
import pytest

from tests.cli.harness import Calls, Run
from wpack import errors
from wpack.cli._signals import Ended
from wpack.stopping import Interrupted


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (
            errors.FormatError("truncated", where="x.wpool", hint="Copy it again"),
            1,
            "wpack: error: x.wpool: truncated. Copy it again\n",
        ),
        (errors.PlanError("no budget"), 2, "wpack: error: no budget\n"),
        (
            errors.SpecError(["s.yaml:1:2: one", "s.yaml:3:4: two", "a", "b", "c"]),
            2,
            "wpack: error: s.yaml:1:2: one\nwpack: error: s.yaml:3:4: two\n"
            "wpack: error: a\nwpack: error: b\nwpack: error: c\n",
        ),
        (
            errors.StorageError("a\nb\nc\nd", where="x"),
            1,
            "wpack: error: x: a\nwpack: error: b\nwpack: error: c\n",
        ),
        (
            errors.CheckpointError("tensor \x1b[31m\u202e"),
            1,
            "wpack: error: tensor \\x1b[31m\\u202e\n",
        ),
        (
            Interrupted("stopped after step 3", exit_code=143),
            143,
            "wpack: error: stopped after step 3\n",
        ),
        (
            OSError(errno.EACCES, "Permission denied", "x.wpool"),
            1,
            "wpack: error: x.wpool: Permission denied\n",
        ),
        (OSError("odd"), 1, "wpack: error: odd\n"),
        (MemoryError(), 1, "wpack: error: out of memory\n"),
        (
            RuntimeError("first line\n\nfurther lines"),
            1,
            "wpack: error: internal error: RuntimeError: first line. --debug shows"
            " where; please report it\n",
        ),
        (
            KeyError("w"),
            1,
            "wpack: error: internal error: KeyError: 'w'. --debug shows where; please"
            " report it\n",
        ),
        (KeyboardInterrupt(), 130, "wpack: interrupted\n"),
        (click.Abort(), 130, "wpack: interrupted\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 141, ""),
        (Ended(143), 143, ""),
        (
            SystemExit(0),
            1,
            "wpack: error: the code that was run, a task perhaps, called sys.exit(0)."
            " --debug shows where\n",
        ),
    ],
)
def test_errors(
    run: Run, api: Calls, error: BaseException, status: int, expected: str
) -> None:
    """Each class has its exit status; a message has three lines, a spec's mistakes all
    of theirs."""
    api.gives["stats"] = error
    result = run("stats", "x.wpool")

    assert (result.status, result.out, result.err) == (status, "", expected)


def test_json(run: Run, api: Calls) -> None:
    """With --json the error is a document too, on stderr."""
    api.gives["stats"] = errors.FormatError("truncated", where="x", hint="Copy it")
    result = run("stats", "x", "--json")

    assert result.out == ""
    assert json.loads(result.err) == {
        "error": {
            "code": "FormatError",
            "path": "x",
            "message": "truncated",
            "hint": "Copy it",
        }
    }


def test_json_of_a_spec(run: Run, api: Calls) -> None:
    """A spec's mistakes come as a list."""
    api.gives["stats"] = errors.SpecError(["a", "b"])
    error = json.loads(run("stats", "x", "--json").err)["error"]

    assert error["problems"] == ["a", "b"]
    assert error["hint"] is None


def test_json_of_wrong_usage(run: Run) -> None:
    """Also where the options could not even be parsed."""
    error = json.loads(run("stats", "--json", "--frob", "x").err)["error"]

    assert error["code"] == "UsageError"
    assert error["message"].startswith("No such option '--frob'")
    assert error["hint"] == "See 'wpack stats --help'"


def test_debug(run: Run, api: Calls) -> None:
    """--debug shows the traceback before the message."""
    api.gives["stats"] = errors.FormatError("truncated")
    result = run("stats", "x", "--debug")

    assert result.err.startswith("Traceback (most recent call last):")
    assert result.err.endswith("\nwpack: error: truncated\n")


def test_verbose_shows_the_cause(run: Run, api: Calls) -> None:
    """-v shows where the user's own task failed, and no more than that."""

    def fail(*args: object, **kwargs: object) -> None:
        try:
            raise ZeroDivisionError("in the task")
        except ZeroDivisionError as cause:
            raise errors.TrainingError("the task failed") from cause

    api.gives["stats"] = fail

    assert "ZeroDivisionError: in the task" in run("stats", "x", "-v").err
    assert run("stats", "x").err == "wpack: error: the task failed\n"
    assert "TrainingError" not in run("stats", "x", "-v").err


def test_suggestions_end_as_they_are(run: Run) -> None:
    """click's own question mark is not followed by a full stop."""

    assert "?. " not in run("stats", "x", "--forse").err


def test_quiet_errors(run: Run, api: Calls) -> None:
    """--quiet silences notes, never an error."""
    api.gives["stats"] = errors.FormatError("truncated")

    assert run("stats", "x", "-q").err == "wpack: error: truncated\n"
