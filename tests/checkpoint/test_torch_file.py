"""Files of ``torch.save``: tensors are read, nothing is run."""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoint.torch_files import everything, legacy, refused, save
from tests.crafting import refusal
from wpack import checkpoint
from wpack.checkpoint import torch_file
from wpack.checkpoint.wrappers import RECIPE
from wpack.errors import UsageError
from wpack.tensors import FLOAT32, TensorInfo


class Malicious:
    """Pickles as a call that leaves a folder behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("write", [save, legacy])
def test_tensors_come_in_the_order_of_the_state_dict(
    tmp_path: Path, write: Callable[[Path, Any], Path]
) -> None:
    """And not in that of their names or places."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    path = write(tmp_path / "m.pt", model.state_dict())
    expected = {
        name: (tuple(tensor.shape), tensor.flatten().tolist())
        for name, tensor in model.state_dict().items()
    }

    assert list(expected.items()) == list(everything(path).items())


@pytest.mark.parametrize("write", [save, legacy])
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside tensors"])
def test_c01_a_malicious_pickle_does_not_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path, Any], Path],
    beside: bool,
) -> None:
    """Nor is it tried again less carefully, whatever the environment says."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    marker = tmp_path / "ran"
    payload = Malicious(marker)
    tree = {"w": torch.ones(2), "x": payload} if beside else payload
    text = refused(write(tmp_path / "m.pt", tree))
    loads_unsafely(tmp_path / "m.pt")

    # The payload works: it was wpack that kept it from running.
    assert marker.exists()
    assert (
        f"needs the Python object {os.mkdir.__module__}.mkdir, which is not run."
        f" {RECIPE}"
    ) == text


def loads_unsafely(path: Path) -> None:
    """What wpack must never do; the payload must not have run before."""
    assert not (path.parent / "ran").exists()
    torch.load(path, weights_only=False)


def test_c01_a_pickle_of_a_newer_protocol_is_refused(tmp_path: Path) -> None:
    """torch's careful reader does not know its instructions."""
    path = save(tmp_path / "m.pt", {"w": torch.ones(1)}, pickle_protocol=4)

    assert (
        "its pickle has the instruction 0x95, which torch.save does not write."
        f" {RECIPE}"
    ) == refused(path)


@pytest.mark.parametrize(
    ("thing", "name"),
    [
        (torch.nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        (argparse.Namespace(lr=1), "argparse.Namespace"),
        (np.float64(1), f"{np.float64(1).__reduce__()[0].__module__}.scalar"),
        (
            pathlib.PurePosixPath("x"),
            f"{pathlib.PurePosixPath.__module__}.PurePosixPath",
        ),
    ],
    ids=["module", "namespace", "numpy scalar", "path"],
)
def test_c02_the_blocked_object_is_named(tmp_path: Path, thing: Any, name: str) -> None:
    """With the way to a file that needs none."""
    path = save(tmp_path / "m.pt", {"state_dict": {"w": torch.ones(1)}, "x": thing})

    assert f"needs the Python object {name}, which is not run. {RECIPE}" == refused(
        path
    )


def test_c11_wrappers_and_prefixes_are_unwrapped_and_reported(tmp_path: Path) -> None:
    """As training scripts write them, the state dict an OrderedDict."""
    state_dict = OrderedDict({"module.w": torch.ones(1), "module.b": torch.zeros(1)})
    tree = {"state_dict": state_dict, "epoch": 7, "best": torch.tensor(0.9)}
    path = save(tmp_path / "m.pt", tree)
    with checkpoint.open(path) as opened:
        notes = opened.notes

    assert {"w": ((1,), [1.0]), "b": ((1,), [0.0])} == everything(path)
    assert [
        "took the tensors under 'state_dict'",
        "left out 'epoch' (int), 'best' (Tensor)",
        "stripped the prefix 'module.' from every name",
    ] == notes


def test_c11_key_chooses_among_several_models(tmp_path: Path) -> None:
    """Without it they are listed."""
    tree = {"model": {"w": torch.ones(1)}, "model_ema": {"w": torch.zeros(1)}}
    path = save(tmp_path / "m.pt", tree)
    with pytest.raises(UsageError) as caught:
        checkpoint.open(path)
    with checkpoint.open(path, "model_ema") as opened:
        read = opened.read("w").tolist()

    assert (
        "holds several models: 'model', 'model_ema'. Choose one, as in --key model"
    ) == refusal(caught, path)
    assert [0.0] == read
    assert 1 == len(checkpoint.infos(path, "model"))


def test_c18_a_file_replaced_before_torch_opens_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch opens the path, not our descriptor: afterwards it is looked at again."""
    path = save(tmp_path / "m.pt", {"w": torch.ones(1)})
    other = save(tmp_path / "other.pt", {"w": torch.zeros(1)})
    load = torch.load

    def replace_and_load(*args: Any, **options: Any) -> Any:
        other.replace(path)
        return load(*args, **options)

    monkeypatch.setattr(torch, "load", replace_and_load)

    assert (
        "changed while it was being read. Run again when nothing writes to it"
    ) == refused(path)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_reading_costs_a_block_of_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transposed: bool
) -> None:
    """Pages that were read do not stay this process's memory until the end."""
    monkeypatch.setattr(torch_file, "REMAP_BYTES", 4 << 20)
    tensors = {f"t{i}": torch.full((1 << 9, 1 << 11), float(i)) for i in range(12)}
    if transposed:
        tensors = {name: tensor.T for name, tensor in tensors.items()}
    path = save(tmp_path / "m.pt", {"model": tensors})
    del tensors
    with checkpoint.open(path) as opened:
        opened.read("t0", 0, 1)
        before, grown = _resident_bytes(), 0
        for i in range(12):
            for first in range(0, 1 << 20, 1 << 18):
                block = opened.read(f"t{i}", first, 1 << 18)
                grown = max(grown, _resident_bytes() - before)
                assert (float(i), float(i)) == (block[0], block[-1])

    assert opened.infos[0] == TensorInfo(
        "t0", FLOAT32, (1 << 11, 1 << 9) if transposed else (1 << 9, 1 << 11)
    )
    assert grown < 20 << 20


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGESIZE")


def test_a_checkpoint_without_tensors_is_refused(tmp_path: Path) -> None:
    """With the way to a better one."""
    buffer = io.BytesIO()
    torch.save({"epoch": 3}, buffer)
    path = tmp_path / "m.pt"
    path.write_bytes(buffer.getvalue())

    assert f"holds no tensors. {RECIPE}" == refused(path)
