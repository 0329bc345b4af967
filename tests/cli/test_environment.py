"""``WPACK_*`` variables."""

from __future__ import annotations

import pytest

from tests.cli.harness import Calls, Run
from wpack.stats import FileStats


def test_options_have_variables(
    run: Run, api: Calls, stats: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option can be set, and a flag on the command line wins."""
    api.gives["stats"] = stats
    monkeypatch.setenv("WPACK_STATS_BACKEND", "copy")
    result = run("stats", "m.wpool", "-q")

    assert result.status == 0
    assert api.made[-1][2]["backend"] == "copy"

    run("stats", "m.wpool", "-q", "--backend", "memfd")

    assert api.made[-1][2]["backend"] == "memfd"


def test_settings_have_variables(
    run: Run, api: Calls, stats: FileStats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So can what all commands share."""
    api.gives["stats"] = stats
    monkeypatch.setenv("WPACK_STATS_JSON", "1")

    assert run("stats", "m.wpool").out.startswith('{\n  "schema_version": 1,')


@pytest.mark.parametrize(
    ("variable", "value", "arguments", "expected"),
    [
        (
            "WPACK_COMPRESS_RATIO",
            "nan",
            ("compress", "x", "-o", "y"),
            "WPACK_COMPRESS_RATIO: 'nan' is not a finite number from 1."
            " See 'wpack compress --help'",
        ),
        (
            "WPACK_MAX_WORKING_BYTES",
            "lots",
            ("inflate", "x", "-o", "y"),
            "WPACK_MAX_WORKING_BYTES: should be a size such as 64KiB, 4MiB or 1.5GB,"
            " not 'lots'. See 'wpack inflate --help'",
        ),
        (
            "WPACK_STATS_SORT",
            "colour",
            ("stats", "x"),
            "WPACK_STATS_SORT: 'colour' is not one of 'file', 'name', 'size'."
            " See 'wpack stats --help'",
        ),
    ],
)
def test_bad_values_name_their_variable(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    """The message names the variable, not the option that nobody gave."""
    monkeypatch.setenv(variable, value)
    result = run(*arguments)

    assert (result.status, result.err) == (2, f"wpack: error: {expected}\n")


def test_bad_debug(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag's variable takes a boolean."""
    monkeypatch.setenv("WPACK_DEBUG", "maybe")

    assert run("env").err.startswith("wpack: error: WPACK_DEBUG: 'maybe' is not a")


def test_unknown_variables_are_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable would otherwise do nothing in silence."""
    monkeypatch.setenv("WPACK_COMPRES_RATIO", "2")
    monkeypatch.setenv("WPACK_\x1b", "2")
    result = run("env")

    assert result.status == 0
    assert "did you mean WPACK_COMPRESS_RATIO?\n" in result.err
    assert "wpack: warning: no such variable: WPACK_\\x1b" in result.err
    assert run("env", "-q").status == 0


@pytest.mark.parametrize(
    "variable",
    ["WPACK_NO_MMAP", "WPACK_DATA", "WPACK_DEBUG", "WPACK_SPEC_INIT_FORCE"],
)
def test_known_variables(
    run: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Those of the library, the samples and subcommands are known."""
    monkeypatch.setenv(variable, "1")

    assert run("env").err == ""
