"""The ``.wpool`` file: the only place that knows its bytes (``docs/format.md``).

A ``.wpool`` is a safetensors file whose metadata holds a plan.  Pools come first, each
where a memory map may start, then the kept tensors, widest elements first.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from . import conformance, durable, strict_json
from .arrangement import POOL_PREFIX, is_pad
from .arrangement import Arrangement as Arrangement
from .arrangement import arrange as arrange
from .header import (
    FORMAT_LIMIT,
    MAX_HEADER,
    Entry,
    Header,
    build_header,
    read_header,
    read_raw,
)
from .inputs import naming, open_regular, read_bytes
from .plan import Plan
from .source import Source as Source
from .source import read_source

_ZEROS = "0" * 64


def predicted_bytes(plan: Plan, spec_text: str, source: Source) -> int:
    """The size of the file that :func:`write` makes of these, to the byte."""
    arrangement = arrange(plan)
    metadata = _metadata(plan, spec_text, source)
    return len(_header(metadata, arrangement, {})) + arrangement.nbytes


def write(
    path: str | os.PathLike[str],
    plan: Plan,
    spec_text: str,
    source: Source,
    stored: Iterable[tuple[str, Iterable[np.ndarray]]],
    *,
    force: bool = False,
) -> None:
    """Write a ``.wpool`` durably, one block at a time.

    Args:
        stored: ``(name, raw blocks)`` for each of ``arrange(plan).stored``, in that
            order; together the blocks are the tensor in row-major order.
        force: Replace a file that exists.

    Raises:
        UsageError, StorageError: As :func:`wpack.durable.replacing`.
        PlanError: As :func:`arrange`.
        ValueError: ``stored`` is not what the plan says.
    """
    arrangement = arrange(plan)
    metadata = _metadata(plan, spec_text, source)
    data_byte = len(_header(metadata, arrangement, {}))
    digests: dict[str, str] = {}
    nbytes = data_byte + arrangement.nbytes
    check = _readable(os.fspath(path))
    with durable.replacing(path, nbytes, force=force, check=check) as output:
        supply = iter(stored)
        for entry in arrangement.entries:
            if is_pad(entry):
                output.write_at(bytes(entry.nbytes), data_byte + entry.begin_byte)
                continue
            name, blocks = next(supply, ("nothing", ()))
            if name != entry.name:
                raise ValueError(f"{entry.name} is the next to store, got {name}")
            digests[name] = _write_tensor(output, data_byte, entry, blocks)
        # The header's digest is made over itself with zeros in its own place, so that
        # every byte of the file is covered by some digest, or must be zero.
        unsigned = _header(metadata, arrangement, digests)
        digests[conformance.HEADER_DIGEST] = conformance.header_sha256(unsigned, _ZEROS)
        output.write_at(_header(metadata, arrangement, digests), 0)


class Container:
    """An open ``.wpool`` whose header and plan have passed every check.

    A context manager that owns one descriptor.

    Attributes:
        path: The file's name, for messages.
        plan: Who reads what from where.
        header: The safetensors header.
        entries: Stored tensors by name, pads included, in the order of their places.
        sha256: Stored tensor → SHA-256 of its bytes; empty where the file has none.
    """

    def __init__(
        self, fd: int, path: str, header: Header, plan: Plan, sha256: dict[str, str]
    ) -> None:
        self._fd = fd
        self.path = path
        self.header = header
        self.plan = plan
        self.entries = {entry.name: entry for entry in header.entries}
        self.sha256 = sha256

    @property
    def metadata(self) -> dict[str, str]:
        """The header's ``__metadata__``."""
        return self.header.metadata

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.header.file_bytes

    @property
    def header_bytes(self) -> int:
        """Bytes that are no tensor's: the header, its alignment and the pads."""
        stored = (e.nbytes for e in self.entries.values() if not is_pad(e))
        return self.file_bytes - sum(stored)

    @property
    def spec_text(self) -> str:
        """The spec that the file was made from, or "" where it has none."""
        return self.metadata.get("wpool.spec", "")

    @property
    def source(self) -> Source:
        """The checkpoint that the file was made from, as it says.

        Raises:
            FormatError: It does not say so in the words of ``docs/format.md``.
        """
        return read_source(self.metadata.get("wpool.source", ""), self.path)

    def pool_entry(self, pool: str) -> Entry:
        """Where a pool's backing weights are stored."""
        return self.entries[POOL_PREFIX + pool]

    def at_byte(self, entry: Entry) -> int:
        """Where in the file an entry's data starts."""
        return self.header.data_byte + entry.begin_byte

    def fileno(self) -> int:
        """The descriptor, as long as the container is open."""
        if self._fd < 0:
            raise ValueError(f"{self.path} has been closed")
        return self._fd

    def read_range(self, entry: Entry, begin: int, end: int) -> np.ndarray:
        """Elements ``begin … end - 1`` of a stored tensor, as
        :func:`wpack.header.read_raw`."""
        return read_raw(self.fileno(), self.header, entry, begin, end, self.path)

    def close(self) -> None:
        """Close the descriptor; closing twice does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read(
    path: str | os.PathLike[str] | int,
    *,
    max_header: int = MAX_HEADER,
    max_working_bytes: int | None = None,
) -> Container:
    """Open a ``.wpool`` and check everything that can be checked without its data.

    Args:
        path: A path, or a descriptor, which is duplicated.
        max_header: Largest header accepted, in bytes.
        max_working_bytes: Most bytes that the working weights may come to; four times
            the machine's memory unless given.

    Raises:
        FormatError: A rule of ``docs/format.md`` is broken.
        StorageError: The file cannot be opened or read.
    """
    if max_working_bytes is None:
        max_working_bytes = 4 * _physical_memory()
    if isinstance(path, int):
        fd, where = os.dup(path), f"descriptor {path}"
    else:
        fd, where = open_regular(path), os.fspath(path)
    try:
        return _checked(fd, where, max_header, max_working_bytes)
    except BaseException:
        os.close(fd)
        raise


def verify(container: Container) -> list[str]:
    """Read the whole file and say what is wrong with it.

    Returns:
        One sentence a problem, beginning with the stored tensor's name; empty for a
        sound file.
    """
    return conformance.data_problems(
        container.fileno(), container.header, container.sha256, container.path
    )


def _metadata(plan: Plan, spec_text: str, source: Source) -> dict[str, str]:
    """The header's metadata but for the checksums."""
    return {
        "format": "wpool",
        "wpool.version": conformance.VERSION,
        "wpool.plan": plan.to_json(),
        "wpool.source": source.to_json(),
        "wpool.spec": spec_text,
    }


def _header(
    metadata: Mapping[str, str], arrangement: Arrangement, digests: Mapping[str, str]
) -> bytes:
    """The whole header; digests not known yet are zeros, which take as much room."""
    names = [conformance.HEADER_DIGEST, *(entry.name for entry in arrangement.stored)]
    sha256 = strict_json.dumps({name: digests.get(name, _ZEROS) for name in names})
    return build_header(
        {**metadata, "wpool.sha256": sha256}, arrangement.entries, arrangement.alignment
    )


def _readable(where: str) -> Callable[[int], object]:
    """A check that what has been written will be accepted."""
    return lambda fd: _checked(fd, where, FORMAT_LIMIT, sys.maxsize)


def _checked(fd: int, where: str, max_header: int, max_working_bytes: int) -> Container:
    header = read_header(fd, where, max_header=max_header)
    text = read_bytes(fd, 0, header.data_byte, where)
    with naming(where):
        plan, sha256 = conformance.check_header(header, text, max_working_bytes, where)
    return Container(fd, where, header, plan, sha256)


def _physical_memory() -> int:
    """Bytes of memory in the machine; 16 GiB where it cannot be asked (Windows)."""
    if not hasattr(os, "sysconf"):
        return 16 << 30
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _write_tensor(
    output: durable.Output, data_byte: int, entry: Entry, blocks: Iterable[np.ndarray]
) -> str:
    """Write a tensor's blocks one after another; returns their SHA-256."""
    sha, at_byte = hashlib.sha256(), entry.begin_byte
    for block in blocks:
        if block.dtype != np.dtype(entry.dtype.raw):
            raise ValueError(
                f"{entry.name}: {entry.dtype.raw} expected, got {block.dtype}"
            )
        raw = np.ascontiguousarray(block).reshape(-1).view("u1")
        if at_byte + raw.size > entry.end_byte:
            raise ValueError(f"{entry.name}: more than {entry.nbytes} bytes")
        output.write_at(raw, data_byte + at_byte)
        sha.update(raw.data)
        at_byte += raw.size
    if at_byte != entry.end_byte:
        missing = entry.end_byte - at_byte
        raise ValueError(f"{entry.name}: {missing} of {entry.nbytes} bytes are missing")
    return sha.hexdigest()
