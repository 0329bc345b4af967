"""Warnings as lines of ours; the streams themselves are tested in test_process."""

from __future__ import annotations

import pytest

from wpack.cli._streams import _show


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (UserWarning("slow\x1b disk\nand more"), "slow\\x1b disk"),
        (RuntimeWarning(), "RuntimeWarning"),
        ("text", "text"),
    ],
)
def test_warnings(
    capsys: pytest.CaptureFixture[str], message: Warning | str, expected: str
) -> None:
    """One line, escaped, without the place in the code."""
    _show(message, UserWarning, "file.py", 3)

    assert capsys.readouterr() == ("", f"wpack: warning: {expected}\n")
