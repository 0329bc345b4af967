"""wpack against others that read the same bytes: safetensors, and the reader that was
written from ``docs/format.md`` alone."""

from __future__ import annotations

import os
from itertools import cycle
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from safetensors import deserialize, safe_open

from tests import independent_reader
from tests.handmade import write_stored
from tests.mutants import mutants, pool_mutants
from tests.random_files import random_plan, random_values
from wpack import container, header
from wpack.arrangement import coded
from wpack.backends import coded_pool
from wpack.errors import FormatError
from wpack.limits import Limits
from wpack.loader import load_file
from wpack.weight_file import PooledWeights, opened

#: 10,000 plans, in shares that two workers can divide.
SHARES, PLANS = 40, 250
BACKENDS = ("mmap", "memfd", "copy")
#: Changed files.
MUTANTS = 2000


@pytest.fixture
def unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of files are written that need not outlive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("share", range(SHARES))
def test_h21_s06_s07_s08_two_readers_agree(tmp_path: Path, share: int) -> None:
    """On files of random plans, bit by bit: the weights that wpack makes are those that
    the independent reader makes; and safetensors finds what was stored."""
    random, path = Random(share), tmp_path / "x.wpool"
    for number in range(PLANS):
        plan = random_plan(random)
        values = random_values(random, plan)
        write_stored(path, plan, values)
        expected = independent_reader.load(path)
        peer = {name: bytes(e["data"]) for name, e in deserialize(path.read_bytes())}
        where = f"plan {number} of {share}"
        made = coded(plan).keys()
        as_it_is = {n for n in peer if n not in made and not n.startswith("__pad__")}

        assert {name: values[name].tobytes() for name in as_it_is} == {
            name: peer[name] for name in as_it_is
        }, where
        assert made <= peer.keys(), where
        with opened(path, limits=Limits()) as file:
            assert [tensor.name for tensor in plan.tensors] == list(expected), where
            for info in file.infos:
                blocks = [np.empty(0, info.dtype.raw), *file.blocks(info.name)]
                found = np.concatenate(blocks)
                assert found.tobytes() == expected[info.name].tobytes(), where
                assert info.shape == expected[info.name].shape, where


@pytest.mark.usefixtures("unsynced")
@pytest.mark.parametrize("share", range(4))
def test_every_backend_agrees(tmp_path: Path, share: int) -> None:
    """So do the views that are loaded, of a map, of memory and of a copy; and what
    torch gets of the same file through safetensors."""
    random, path = Random(-1 - share), tmp_path / "x.wpool"
    for number, backend in zip(range(100), cycle(BACKENDS), strict=False):
        plan = random_plan(random)
        values = random_values(random, plan)
        write_stored(path, plan, values)
        expected = independent_reader.load(path)
        if backend == "mmap" and coded_pool(plan):
            backend = "auto"  # whose pages would be no weights
        loaded = load_file(path, backend=backend)
        where = f"plan {number} of {share}"

        assert list(loaded) == list(expected), where
        for name, tensor in loaded.items():
            assert tuple(tensor.shape) == expected[name].shape, where
            assert bits(tensor) == expected[name].tobytes(), where
        with safe_open(path, "pt") as peer:
            for name in values.keys() & set(peer.keys()) - coded(plan).keys():
                found = peer.get_tensor(name)
                assert bits(found) == values[name].tobytes(), where


def bits(tensor: torch.Tensor) -> bytes:
    """A tensor's elements in row-major order."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose content changes."""
    return tmp_path_factory.mktemp("mutants") / "x.safetensors"


@settings(max_examples=MUTANTS)
@given(blob=mutants())
def test_what_safetensors_refuses_is_refused(changing: Path, blob: bytes) -> None:
    """Whatever is changed in a file: where wpack reads it, safetensors does too, and
    both find the same tensors of the same bytes."""
    changing.write_bytes(blob)
    fd = header.open_regular(changing)
    try:
        found = header.read_header(fd, "x")
    except FormatError:
        return
    finally:
        os.close(fd)
    data = blob[found.data_byte :]
    peer = {name: entry for name, entry in deserialize(blob)}

    assert {entry.name for entry in found.entries} == set(peer)
    for entry in found.entries:
        other = peer[entry.name]
        assert (entry.dtype.code, list(entry.shape)) == (other["dtype"], other["shape"])
        assert data[entry.begin_byte : entry.end_byte] == bytes(other["data"])
    with safe_open(changing, "np") as file:
        assert file.metadata() == (found.metadata or None)


@settings(max_examples=MUTANTS)
@given(blob=pool_mutants())
def test_changed_plans_mean_the_same_to_two_readers(
    changing: Path, blob: bytes
) -> None:
    """Whatever is changed in a plan: where wpack takes it, the independent reader
    makes the same weights of it, and safetensors opens the file."""
    path = changing.with_suffix(".wpool")
    path.write_bytes(blob)
    try:
        file = container.read(path)
    except FormatError:
        return
    expected = independent_reader.load(path)
    with file:
        weights = PooledWeights(file)

        assert [info.name for info in weights.infos] == list(expected)
        for info in weights.infos:
            blocks = [np.empty(0, info.dtype.raw), *weights.blocks(info.name)]
            assert np.concatenate(blocks).tobytes() == expected[info.name].tobytes()
            assert info.shape == expected[info.name].shape
        with safe_open(path, "np") as peer:
            assert set(peer.keys()) == set(file.entries)
