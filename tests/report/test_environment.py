"""What a bug report needs."""

from __future__ import annotations

import io
import mmap

import pytest

from wpack.report import screen
from wpack.report.environment import EnvironmentReport, version


def test_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions, the page size, and the WPACK_ variables that are set."""
    monkeypatch.setenv("WPACK_NO_MMAP", "1")
    values = EnvironmentReport.here().document()["environment"]

    assert values["page size"] == str(mmap.PAGESIZE)
    assert values["numpy"] == version("numpy")
    assert values["WPACK_NO_MMAP"] == "1"


def test_not_installed() -> None:
    """A package that is not there is said not to be."""

    assert version("no-such-package-at-all") == "not installed"


def test_escaped() -> None:
    """A variable's value cannot steer the terminal."""

    assert "\\x1b" in screen.text(EnvironmentReport({"x": "\x1b"}), io.StringIO())
