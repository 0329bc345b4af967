"""Files of torch before 1.6 are looked through before torch sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.checkpoint.torch_files import everything, legacy, refused
from wpack.checkpoint import torch_legacy
from wpack.checkpoint.wrappers import RECIPE


@pytest.mark.parametrize("pickled", ["x" * 2000, ["x"] * 2000], ids=["text", "list"])
def test_c04_pickles_above_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pickled: object
) -> None:
    """Wherever the limit cuts them: in an instruction or between two."""
    monkeypatch.setattr(torch_legacy, "MAX_PICKLE", 1200)
    path = legacy(tmp_path / "m.pt", {"w": torch.ones(1), "x": pickled})

    assert f"its pickles do not end within 1200 bytes. {RECIPE}" == refused(path)


def test_storages_are_no_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after the pickles may be as long as it likes."""
    monkeypatch.setattr(torch_legacy, "MAX_PICKLE", 1200)
    path = legacy(tmp_path / "m.pt", {"w": torch.ones(2000)})

    assert {"w": ((2000,), [1.0] * 2000)} == everything(path)


def test_unknown_instructions_are_refused(tmp_path: Path) -> None:
    """What wpack cannot follow, torch does not get to see."""
    path = legacy(tmp_path / "m.pt", {"w": torch.ones(1)})
    data = path.read_bytes()
    at = data.index(b"}q")
    path.write_bytes(data[:at] + b"\xff" + data[at:])

    assert (
        "its pickle has the instruction 0xff, which torch.save does not write."
        f" {RECIPE}"
    ) == refused(path)
