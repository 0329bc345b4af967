"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

import wpack
from tests.cli.harness import Calls, Result, Run
from wpack.cli import cli
from wpack.plan import Plan
from wpack.stats import FileStats, TensorStats


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of whoever runs the tests; 80 columns."""
    for name in [name for name in os.environ if name.startswith("WPACK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Call ``wpack`` with these arguments."""

    def call(*args: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main([str(arg) for arg in args])
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Result(left.value.code, printed.out, printed.err)

    return call


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the commands import as ``api``."""
    calls = Calls()
    monkeypatch.setitem(vars(wpack), "api", calls)
    return calls


@pytest.fixture
def stats() -> FileStats:
    """A file of one kept tensor."""
    tensor = TensorStats("head.weight", (5, 5), "float32", "kept", (), 100, True)
    return FileStats(
        path="m.wpool",
        format="wpool",
        file_bytes=164,
        header_bytes=64,
        working_parameters=25,
        free_parameters=25,
        backing_parameters=0,
        kept_parameters=25,
        ratio=1.0,
        inflated_bytes=100,
        zero_copy_bytes=100,
        copied_bytes=0,
        pools=(),
        tensors=(tensor,),
    )


@pytest.fixture
def planned(stats: FileStats) -> SimpleNamespace:
    """What ``api.plan`` gives."""
    return SimpleNamespace(
        plan=Plan((), (), 64), stats=stats, notes=("kept: head.weight",)
    )


@pytest.fixture
def packed(stats: FileStats) -> SimpleNamespace:
    """What ``api.compress`` gives."""
    return SimpleNamespace(
        stats=stats, source=stats, notes=("kept: head.weight",), calibrated=()
    )
