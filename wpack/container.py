"""The ``.wpool`` file: the only place that knows its bytes (``docs/format.md``).

A ``.wpool`` is a safetensors file whose metadata holds a plan.  Pools come first, each
where a memory map may start, then the kept tensors, widest elements first.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from . import arrangement, checksums, conformance, durable
from .arrangement import POOL_PREFIX, is_pad, largest
from .arrangement import Arrangement as Arrangement
from .arrangement import arrange as arrange
from .chain import Encoded
from .errors import FormatError
from .header import (
    FORMAT_LIMIT,
    MAX_HEADER,
    Entry,
    Header,
    read_header,
    read_raw,
)
from .inputs import naming, open_regular, read_bytes
from .limits import physical_memory
from .names import shown
from .plan import Plan
from .preamble import ZEROS, header_of, metadata_of
from .source import Source as Source
from .source import read_source

_NOTHING: Mapping[str, Encoded] = {}


def predicted_bytes(
    plan: Plan,
    spec_text: str,
    source: Source,
    coded: Mapping[str, Encoded] | None = None,
) -> int:
    """The size of the file that :func:`write` makes of these: to the byte where the
    plan is exact or all that is coded is given, and at most otherwise."""
    arranged = largest(plan) if coded is None else arrange(plan, _sizes(coded))
    metadata = metadata_of(plan, spec_text, source, coded or {})
    return len(header_of(metadata, arranged, {})) + arranged.nbytes


def write(
    path: str | os.PathLike[str],
    plan: Plan,
    spec_text: str,
    source: Source,
    stored: Iterable[tuple[str, Iterable[np.ndarray]]],
    *,
    coded: Mapping[str, Encoded] = _NOTHING,
    force: bool = False,
) -> None:
    """Write a ``.wpool`` durably, one block at a time.

    Args:
        stored: ``(name, raw blocks)`` for each of ``arrange(plan).stored`` that is not
            coded, in that order; together the blocks are the tensor in row-major order.
        coded: By the names they are stored under, all coded pools and kept tensors.
        force: Replace a file that exists.

    Raises:
        UsageError, StorageError: As :func:`wpack.durable.replacing`.
        PlanError: As :func:`arrange`.
        ValueError: ``stored`` is not what the plan says.
    """
    if coded.keys() != arrangement.coded(plan).keys():
        raise ValueError(f"coded are {[*coded]}, not {[*arrangement.coded(plan)]}")
    arranged = arrange(plan, _sizes(coded))
    metadata = metadata_of(plan, spec_text, source, coded)
    data_byte = len(header_of(metadata, arranged, {}))
    blobs = {name: (name, (each.data,)) for name, each in coded.items()}
    digests: dict[str, str] = {}
    nbytes = data_byte + arranged.nbytes
    check = _readable(os.fspath(path))
    with durable.replacing(path, nbytes, force=force, check=check) as output:
        supply = iter(stored)
        for entry in arranged.entries:
            if is_pad(entry):
                output.write_at(bytes(entry.nbytes), data_byte + entry.begin_byte)
                continue
            name, blocks = blobs.get(entry.name) or next(supply, ("nothing", ()))
            if name != entry.name:
                raise ValueError(f"{entry.name} is the next to store, got {name}")
            digests[name] = _write_tensor(output, data_byte, entry, blocks)
        # The header's digest is made over itself with zeros in its own place, so that
        # every byte of the file is covered by some digest, or must be zero.
        unsigned = header_of(metadata, arranged, digests)
        digests[checksums.HEADER] = checksums.of_header(unsigned, ZEROS)
        output.write_at(header_of(metadata, arranged, digests), 0)


class Container:
    """An open ``.wpool`` whose header and plan have passed every check.

    A context manager that owns one descriptor.

    Attributes:
        path: The file's name, for messages.
        plan: Who reads what from where.
        header: The safetensors header.
        entries: Stored tensors by name, pads included, in the order of their places.
        sha256: Stored tensor → SHA-256 of its bytes; empty where the file has none.
        coded: Stored tensor → what it is of, for those that codecs have made.
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
        self.coded = arrangement.coded(plan)

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

    def read_values(self, name: str, out: np.ndarray) -> None:
        """Read a whole pool or kept tensor, and decode it where it is coded; beside
        ``out`` this takes a few blocks of memory.

        Args:
            name: That it is stored under: a pool's is ``pool/<name>``.
            out: ``(numel,)``, raw of the dtype that the plan gives; filled.

        Raises:
            FormatError: What is stored is damaged.
            StorageError: The operating system could not read it.
        """
        entry = self.entries[name]
        if name not in self.coded:
            out[:] = self.read_range(entry, 0, entry.numel)
            return
        chain, dtype, _ = self.coded[name]
        read, where = partial(self.read_range, entry), f"tensor {shown(name)}"
        with naming(self.path):
            chain.decode(read, entry.nbytes, dtype, out, where)

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
        max_working_bytes = 4 * physical_memory()
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
    problems = conformance.data_problems(
        container.fileno(), container.header, container.sha256, container.path
    )
    for name, (_, dtype, numel) in container.coded.items():
        try:
            container.read_values(name, np.empty(numel, dtype.raw))
        except FormatError as error:
            problems.append(error.what)
    return problems


def _sizes(coded: Mapping[str, Encoded]) -> dict[str, int]:
    return {name: each.data.size for name, each in coded.items()}


def _readable(where: str) -> Callable[[int], object]:
    """A check that what has been written will be accepted."""
    return lambda fd: _checked(fd, where, FORMAT_LIMIT, sys.maxsize)


def _checked(fd: int, where: str, max_header: int, max_working_bytes: int) -> Container:
    header = read_header(fd, where, max_header=max_header)
    text = read_bytes(fd, 0, header.data_byte, where)
    with naming(where):
        plan, sha256 = conformance.check_header(header, text, max_working_bytes, where)
    return Container(fd, where, header, plan, sha256)


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
