"""Settings of a run, compared."""

from __future__ import annotations

from pathlib import Path

from wpack.agreement import check, differences, read


def test_differences_are_counted() -> None:
    """Values of unlike types differ; a text that is equal does not."""
    assert ["a: 1 in the run, true now"] == differences(
        {"a": 1, "b": "x"}, {"a": True, "b": "x"}
    )


def test_nothing_to_compare(tmp_path: Path) -> None:
    """A new folder has no config; the same config says nothing."""
    assert read(tmp_path / "config.json") is None
    assert [] == (check({"a": 1}, {"a": 1}, tmp_path, ("a",), False))
