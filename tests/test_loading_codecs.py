"""Files with coded pools and groups: decoded once, in place, and then as ever."""

from __future__ import annotations

import copy
import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.blobs import chain_of, needs
from tests.handmade import (
    CODED,
    EVERYTHING,
    PER_PAGE,
    coded,
    kept,
    plan_of,
    plans,
    pooled,
    write,
)
from tests.processes import ended
from wpack import api, backends, container, load_file, pool_file, ring
from wpack import open as open_pool_file
from wpack.backends import CAN_MAP
from wpack.blob import write as write_blob
from wpack.chain import Chain, Encoded, StageSize
from wpack.codecs import Stream
from wpack.errors import FormatError, UsageError
from wpack.plan import Plan
from wpack.residence import residence

needs_maps = pytest.mark.skipif(not CAN_MAP, reason="no rings on this system")
#: The backends that can decode.
DECODING = ("memfd", "copy")
CHAINS = [*map(chain_of, ("zstd", "int", "int: {bits: 3, block: 8}, zstd"))]
pytestmark = needs("int, zstd")


def bits(tensor: torch.Tensor) -> bytes:
    """A tensor's elements as they lie in memory."""
    flat = tensor.detach().contiguous().reshape(-1)
    return bytes(flat.view(torch.uint8).numpy()) if flat.numel() else b""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one of everything, one pool and the kept tensors coded."""
    write(tmp_path / "c.wpool", CODED)
    return tmp_path / "c.wpool"


@pytest.mark.parametrize("backend", ["auto", *DECODING])
def test_everything_has_its_bits(tmp_path: Path, backend: str) -> None:
    """Every tensor is what its codes mean, and what was decoded is counted once."""
    path = tmp_path / "c.wpool"
    expected = write(path, CODED)
    with open_pool_file(path, backend=backend) as file:
        tensors = file.get_tensors()
        again = file.get_tensors()
        loaded = file.loaded
        decoded_nbytes, held = file.decoded_nbytes, file.residence

    for name, raw in expected.items():
        assert raw.tobytes() == bits(tensors[name]), name
        assert tensors[name] is again[name]
    assert tensors["tied"] is tensors["wraps"]
    pool, bias, group = 4 * PER_PAGE * 4, 5 * 4, (21 + 1 + 90) * 2
    assert pool + bias + group == decoded_nbytes == held.decoded_nbytes
    assert decoded_nbytes == loaded.decoded_bytes
    assert 0 < loaded.decoded_seconds < 10
    assert held.copied_nbytes == loaded.copied_bytes


def test_views_as_without_codecs() -> None:
    """What is a view of the pool does not depend on how that is stored."""
    for backend in DECODING:
        plain = residence(EVERYTHING, backend=backend)
        found = residence(CODED, backend=backend)

        assert plain == replace(found, decoded_nbytes=0)


@settings(max_examples=30)
@given(plans(), st.sampled_from(CHAINS), st.sampled_from(["a", "b", "ab"]))
def test_pools_of_any_plan(
    tmp_path_factory: pytest.TempPathFactory, plan: Plan, chain: Chain, which: str
) -> None:
    """Rings, stitched and joined parts, over pools of which some are coded."""
    plan = coded(plan, dict.fromkeys(which, chain))
    path = tmp_path_factory.mktemp("coded") / "f.wpool"
    expected = write(path, plan)
    for backend in DECODING:
        with open_pool_file(path, backend=backend) as file:
            for name, raw in expected.items():
                assert raw.tobytes() == bits(file.get_tensor(name)), (backend, name)
            assert file.residence.copied_nbytes == file.copied_nbytes


def test_which_backends(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """The file's own pages are no weights: ``auto`` decodes, ``mmap`` is refused."""
    monkeypatch.setattr(backends, "CAN_MAP", True)

    assert residence(CODED).backend == "memfd"
    assert backends.candidates("auto", coded="a") == ("memfd", "copy")
    for ask in (open_pool_file, api.stats):
        with pytest.raises(UsageError) as refused:
            ask(path, backend="mmap")
        assert str(refused.value) == (
            "backend mmap cannot be used: pool 'a' is stored coded, so that the file's"
            " pages are no weights. Use backend memfd or auto, which decode it once"
        )


@needs_maps
def test_groups_alone_leave_the_file_mapped(tmp_path: Path) -> None:
    """Kept tensors that are coded are decoded beside pools that are mapped."""
    plan = coded(EVERYTHING, {}, (CHAINS[2], ["bias"]))
    expected = write(tmp_path / "g.wpool", plan)
    with open_pool_file(tmp_path / "g.wpool") as file:
        assert "mmap" == file.backend
        found = file.get_tensor("bias")
        file.get_tensor("wraps")
        assert 5 * 4 == file.decoded_nbytes

    assert expected["bias"].tobytes() == bits(found)


@pytest.mark.parametrize("backend", DECODING)
def test_decoded_when_first_asked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Each pool and group once, and none that nobody reads."""
    asked: list[str] = []
    real = container.Container.read_values

    def counting(self: container.Container, name: str, out: np.ndarray) -> None:
        asked.append(name)
        real(self, name, out)

    monkeypatch.setattr(container.Container, "read_values", counting)
    with open_pool_file(path, backend=backend) as file:
        assert [] == asked
        file.get_tensor("long")
        assert [] == asked  # pool b is stored as it is
        file.get_tensor("g2")
        file.get_tensor("g0")
        assert ["kept/1"] == asked
        file.get_tensors()

    assert ["kept/0", "kept/1", "pool/a"] == sorted(asked)


@pytest.mark.parametrize("backend", DECODING)
def test_damage_is_not_taken_for_weights(path: Path, backend: str) -> None:
    """A pool that cannot be decoded is refused again when it is asked for again."""
    with container.read(path) as file:
        at_byte = file.at_byte(file.pool_entry("a"))
    raw = bytearray(path.read_bytes())
    raw[at_byte : at_byte + 40] = bytes(40)
    path.write_bytes(raw)
    with open_pool_file(path, backend=backend) as file:
        for name in ("plain", "wraps", "plain"):
            with pytest.raises(FormatError, match=r"c\.wpool: .*'pool/a'"):
                file.get_tensor(name)
        assert 0 == file.decoded_nbytes


@needs_maps
def test_writable_memory_is_coherent(path: Path) -> None:
    """Written through one tensor, a decoded weight changes in all that share it, and
    the file does not."""
    stored = path.read_bytes()
    with open_pool_file(path, writable=True) as file:
        wraps, whole = file.get_tensor("wraps"), file.get_tensor("whole")
        wraps.view(-1)[PER_PAGE + 3] = 77

    assert 77 == whole.view(-1)[3]
    assert stored == path.read_bytes()


def test_copies_keep_the_sharing(path: Path) -> None:
    """``deepcopy`` of the dict has one storage a pool."""
    copied = copy.deepcopy(load_file(path))
    copied["whole"].view(-1)[17] = 77

    assert 77 == copied["plain"][0, 0]


def test_devices_get_what_was_decoded_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoded pool is moved to a device as one, and viewed there."""
    expected = {name: bits(t) for name, t in load_file(path).items()}
    monkeypatch.setattr(pool_file, "_HOST", "none")  # the CPU stands for the device
    with open_pool_file(path) as file:
        found = file.get_tensors()
        assert file.residence.copied_nbytes == file.copied_nbytes
        assert file.residence.decoded_nbytes == file.decoded_nbytes

    assert expected == {name: bits(tensor) for name, tensor in found.items()}
    assert 1 == len({found[n].untyped_storage().data_ptr() for n in ("wraps", "whole")})


def test_other_systems_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without maps and ``memfd`` the same values are decoded into ordinary memory."""
    expected = {name: bits(t) for name, t in load_file(path).items()}
    monkeypatch.setattr(backends, "CAN_MAP", False)
    with open_pool_file(path) as file:
        assert "copy" == file.backend
        assert expected == {name: bits(t) for name, t in file.get_tensors().items()}


@needs_maps
def test_m04_no_maps_for_what_is_decoded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system refuses maps: told, and decoded into ordinary memory."""

    def refuse(segments: object, *, shared: bool) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    expected = {name: bits(t) for name, t in load_file(path).items()}
    monkeypatch.setattr(ring, "map_segments", refuse)
    with pytest.warns(RuntimeWarning) as told:
        found = load_file(path)

    assert [str(warning.message) for warning in told] == [
        f"{path}: backend memfd does not work here ({os.strerror(errno.ENOMEM)});"
        " using copy"
    ]
    assert expected == {name: bits(tensor) for name, tensor in found.items()}


#: Of the large pool below: 64 MiB decoded, 8 MiB and a little stored.
NUMEL = 16 << 20


def write_large(path: Path) -> None:
    """A pool of 4-bit numbers, made without looking for the best ones."""
    chain = chain_of("int: 4")
    plan = plan_of(
        {"p": NUMEL},
        pooled("wraps", (NUMEL,), ("p", NUMEL // 2)),
        kept("bias", (3,)),
    )
    plan = coded(plan, {"p": chain})
    numbers = np.resize(np.arange(15, dtype="u1"), NUMEL)
    scales = np.full(NUMEL // 64, 0x3C00, "<u2")
    unit = np.array([1], "<f4").view("<u4")
    streams = [Stream(unit, 1 << 32), Stream(scales, 1 << 16), Stream(numbers, 15)]
    made = write_blob(streams, None)
    stages = (StageSize("", 4 * NUMEL), StageSize("int", made.data.nbytes))
    encoded = {"pool/p": Encoded(made.data, stages, made.entropy_nbytes)}
    rest = [("bias", [np.zeros(3, "<f4")])]
    source = container.Source("0" * 64, 0)
    container.write(path, plan, "", source, rest, coded=encoded)


def grow(backend: str) -> None:
    """Print by how many bytes loading the large pool raises the most memory that this
    process has had, and a sum of what it loaded."""

    def peak() -> int:
        with open("/proc/self/status") as status:
            (line,) = (line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # the peak so far is forgotten
    before = peak()
    with open_pool_file("large.wpool", backend=backend) as file:
        tensor = file.get_tensor("wraps")
        print(peak() - before, float(tensor[:15].sum()), file.copied_nbytes)


@needs_maps
def test_no_second_copy_of_the_pool(tmp_path: Path) -> None:
    """Decoding takes the decoded pool and a few blocks, as a child process measures."""
    write_large(tmp_path / "large.wpool")
    done = ended(tmp_path, grow, "memfd")

    assert (0, "") == (done.status, done.err)
    grown, total, copied = map(float, done.out.split())
    block = 4 << 20  # bytes of 2^20 decoded values
    assert 4 * NUMEL - block < grown < 4 * NUMEL + 4 * block
    assert (0, 0) == (total, copied)
