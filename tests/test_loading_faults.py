"""Loading while everything goes wrong around it, each in a process of its own (faults
M01 … M05): what is survived, what is told, and what may end the process."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import resource
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.blobs import chain_of, needs
from tests.handmade import (
    PAGE,
    PER_PAGE,
    coded,
    plan_of,
    pooled,
    write,
    write_stored,
)
from tests.processes import ended
from tests.round_file import PLAN, sums
from wpack import address_space, load_file
from wpack import open as open_pool_file
from wpack.backends import BACKENDS, CAN_MAP
from wpack.errors import FormatError

pytestmark = pytest.mark.skipif(not CAN_MAP, reason="no rings on this system")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the file ``w.wpool``."""
    write(tmp_path / "w.wpool", PLAN)
    return tmp_path


def cut_short(backend: str) -> None:
    """Look at weights after the file has lost its end."""
    tensors = load_file("w.wpool", backend=backend)
    before = sums(tensors)
    os.truncate("w.wpool", 0)
    assert before == sums(tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_m01_truncated_under_the_map(folder: Path, backend: str) -> None:
    """What has been read is immune; the file's own pages are gone, which no process
    survives, and that is documented."""
    expected = {"mmap": -signal.SIGBUS, "memfd": 0, "copy": 0}
    done = ended(folder, cut_short, backend)

    assert expected[backend] == done.status
    assert "Traceback" not in done.err


def cut_before_reading(backend: str) -> None:
    """Take a tensor whose pool was not read before the file lost its end."""
    with open_pool_file("w.wpool", backend=backend) as file:
        os.truncate("w.wpool", PAGE)
        with pytest.raises(FormatError) as caught:
            file.get_tensor("wraps")
    print(caught.value)


@pytest.mark.parametrize("backend", ["memfd", "copy"])
def test_m01_truncated_before_it_was_read(folder: Path, backend: str) -> None:
    """An error in words: what is to be read is not there any more."""
    done = ended(folder, cut_before_reading, backend)

    assert (0, "") == (done.status, done.err)
    assert done.out.startswith("w.wpool: ")


@needs("int")
@pytest.mark.parametrize("backend", ["memfd", "copy"])
def test_m01_coded_and_truncated(tmp_path: Path, backend: str) -> None:
    """What is to be decoded is not there any more; what has been decoded stays."""
    chain = chain_of("int")
    write(tmp_path / "w.wpool", coded(PLAN, {"p": chain}))
    before = ended(tmp_path, cut_before_reading, backend)
    write(tmp_path / "w.wpool", coded(PLAN, {"p": chain}))
    after = ended(tmp_path, cut_short, backend)

    assert (0, "") == (before.status, before.err)
    assert before.out.startswith("w.wpool: ")
    assert (0, "") == (after.status, after.err)


@pytest.mark.parametrize("backend", BACKENDS)
def test_m02_edited_under_the_map(folder: Path, backend: str) -> None:
    """A file that is written to in place shows through its map and nowhere else; a
    check finds it out."""
    path = folder / "w.wpool"
    tensors = load_file(path, backend=backend)
    before = sums(tensors)
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size - 4)
        file.write(b"\0\0\xc8\x42")  # the last weight of the bias is 100 now

    assert (backend == "mmap") == (before != sums(tensors))
    assert (backend == "mmap") == (float(tensors["bias"][-1]) == 100)
    with pytest.raises(FormatError, match="bias"):
        load_file(path, backend=backend, verify=True)


def use_deleted(backend: str) -> None:
    """Take every tensor of a file that has been deleted, and replaced by another."""
    expected = sums(load_file("w.wpool"))
    with open_pool_file("w.wpool", backend=backend) as file:
        os.unlink("w.wpool")
        Path("w.wpool").write_bytes(b"something else")
        tensors = {name: file.get_tensor(name) for name in file}
    del file
    gc.collect()
    assert expected == sums(tensors)


@pytest.mark.parametrize("backend", BACKENDS)
def test_m05_deleted_file(folder: Path, backend: str) -> None:
    """An open file is read to its end, whatever becomes of its name."""
    done = ended(folder, use_deleted, backend)

    assert (0, "") == (done.status, done.err)


def told(load: Callable[[], dict[str, torch.Tensor]]) -> None:
    """Load under a limit; print what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tensors = load()
    print(*(warning.message for warning in caught), sep="\n", flush=True)
    # An exit handler may want memory that there is none of.
    os._exit(not tensors["long"].isfinite().all())


def fill_maps(spare: int) -> None:
    """Use up all maps that the kernel lets a process have, but for a few."""
    libc = address_space._libc()
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    made: list[int] = []
    failed = ctypes.c_size_t(-1).value
    while True:
        # Neighbours alike would be made one.
        protection = mmap.PROT_READ << (len(made) % 2)
        at = libc.mmap(0, PAGE, protection, flags, -1, 0)
        if at == failed:
            break
        made.append(at)
    for at in made[-spare:]:
        assert libc.munmap(ctypes.c_void_p(at), ctypes.c_size_t(PAGE)) == 0


def load_without_maps() -> None:
    """Load a ring of 1,000 laps when there are 500 maps left."""
    plan = plan_of({"p": PER_PAGE}, pooled("long", (1000, PER_PAGE), ("p", 0)))
    write(Path("w.wpool"), plan)
    gc.collect()
    fill_maps(500)
    told(lambda: load_file("w.wpool"))


def load_without_address_space() -> None:
    """Load a ring of a gibibyte with 256 MiB of address space left."""
    plan = plan_of({"p": 2**17}, pooled("long", (2**18 - 1,), ("p", 0)))
    write(Path("w.wpool"), plan)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * PAGE
    limit = used + 2**20 + 2**18
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    told(lambda: load_file("w.wpool"))


@pytest.mark.parametrize(
    "job", [load_without_maps, load_without_address_space], ids=lambda job: job.__name__
)
def test_m04_no_room_for_maps(tmp_path: Path, job: Callable[[], None]) -> None:
    """Out of maps (vm.max_map_count) or address space (RLIMIT_AS): told, one backend
    after the other, and loaded in ordinary memory."""
    done = ended(tmp_path, job)

    assert (0, "") == (done.status, done.err)
    why = os.strerror(12)
    assert [
        f"w.wpool: backend mmap does not work here ({why}); using memfd",
        f"w.wpool: backend memfd does not work here ({why}); using copy",
    ] == done.out.splitlines()


def load_without_memory() -> None:
    """Load what no backend has room for."""
    plan = plan_of({"p": 2**17}, pooled("long", (2**30,), ("p", 0)))
    pool = np.zeros(2**17, "f4")
    write_stored(Path("w.wpool"), plan, {"pool/p": pool})
    with open("/proc/self/statm") as file:
        limit = int(file.read().split()[0]) * PAGE + 2**22
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    warnings.simplefilter("ignore")
    try:
        load_file("w.wpool")
    except BaseException as error:
        print(type(error).__name__, error, flush=True)
    os._exit(0)


def test_m04_no_room_at_all(tmp_path: Path) -> None:
    """A gibiweight read of half a mebibyte, where there is room for neither maps nor
    memory, is refused, not killed."""
    done = ended(tmp_path, load_without_memory)

    assert (0, "") == (done.status, done.err)
    assert "MemoryError" in done.out
