"""What loading takes, as it is found by doing it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.blobs import needs
from tests.handmade import CODED, EVERYTHING, write
from wpack import api, backends, loading
from wpack.backends import BACKENDS
from wpack.errors import FormatError
from wpack.limits import Limits


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A file with one of everything."""
    write(tmp_path / "everything.wpool", EVERYTHING)
    return tmp_path / "everything.wpool"


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_done_is_what_stats_predicts(everything: Path, backend: str) -> None:
    """Bytes agree with those that stats tells from the header alone, and add up."""
    predicted = api.stats(everything, backend=backend)
    found = api.stats(everything, backend=backend, load=True)
    load = found.load

    assert predicted.load is None
    assert predicted == replace(found, load=None)
    assert load is not None
    assert load.backend == backend
    assert load.views_bytes == found.zero_copy_bytes
    assert found.inflated_bytes == (
        load.views_bytes + load.wrapped_bytes + load.computed_bytes
    )
    # One of the tensors is an alias.
    assert load.views + load.wrapped + load.computed == len(found.tensors) - 1
    assert load.copied_bytes == found.copied_bytes
    assert 0 < load.computed_seconds < load.seconds


@needs("int, zstd")
@pytest.mark.parametrize("backend", ["auto", "memfd", "copy"])
def test_decoding_is_told_apart(tmp_path: Path, backend: str) -> None:
    """Bytes decoded are those that stats predicts; their time is neither that of
    computing tensors nor that of opening the file."""
    path = tmp_path / "coded.wpool"
    write(path, CODED)
    predicted = api.stats(path, backend=backend)
    found = api.stats(path, backend=backend, load=True)
    load = found.load

    assert predicted == replace(found, load=None)
    assert load is not None
    assert load.decoded_bytes == found.decoded_bytes > 0
    assert load.copied_bytes == found.copied_bytes
    assert load.views_bytes == found.zero_copy_bytes
    assert 0 < load.decoded_seconds
    assert load.decoded_seconds + load.computed_seconds < load.seconds


def test_what_had_to_be_done_otherwise(
    everything: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a system cannot map, the reasons for copies are those of the backend that
    was used."""
    monkeypatch.setattr(backends, "CAN_MAP", False)
    found = api.stats(everything, load=True)

    assert found.load is not None
    assert found.load.backend == "copy"
    assert found == replace(api.stats(everything, backend="copy"), load=found.load)


def test_plain_checkpoints_have_nothing_to_compute(tmp_path: Path) -> None:
    """They are told of as ever."""
    save_file({"w": np.zeros((2, 3), "f4")}, tmp_path / "m.safetensors")

    assert api.stats(tmp_path / "m.safetensors", load=True) == api.stats(
        tmp_path / "m.safetensors"
    )


def test_limits_hold(everything: Path) -> None:
    """What is refused is not loaded."""
    with pytest.raises(FormatError, match="its working weights take "):
        loading.measured(everything, "auto", Limits(max_working_bytes=1))
