"""Whether a safetensors header is a ``.wpool``'s: the rules of ``docs/format.md``.

The order is the document's: version, plan, what is stored against what the plan says,
checksums, the size once loaded, and the header's own digest last, so that a file that
breaks a rule is told which.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping

import numpy as np

from . import checksums, plan_text
from .arrangement import BYTES, POOL_PREFIX, Coded, coded, is_pad
from .errors import FormatError
from .header import Entry, Header
from .inputs import AGAIN, read_into
from .names import name_problem, shown
from .plan import ALIGNMENTS, Plan
from .plan_reader import read_plan
from .tensors import DType

VERSION = "1"

#: Bytes read at a time where a whole file is checked.
_CHUNK = 4 << 20
_KEYS = (
    "wpool.version",
    plan_text.PLAIN,
    plan_text.DEFLATED,
    checksums.KEY,
    "wpool.spec",
    "wpool.source",
)
#: Metadata that any writer may add and every reader ignores.
_INFORMATION = "wpool.info."


def check_header(
    header: Header, text: bytes, max_working_bytes: int, where: str
) -> tuple[Plan, dict[str, str]]:
    """Check a ``.wpool``'s header against itself.

    Args:
        text: The same header's bytes.
        max_working_bytes: Most bytes that the working weights may come to.
        where: The file's name, for a warning.

    Returns:
        The plan, and the SHA-256 of each stored tensor (empty where there are none).

    Raises:
        FormatError: A rule is broken; ``where`` is the place inside the file.
    """
    plan = _plan(header.metadata)
    _check_names(plan)
    stored = _without_padding(header)
    by_codecs = coded(plan)
    _check_stored(plan, by_codecs, stored)
    _check_places(plan, by_codecs, header.data_byte, stored)
    sha256 = checksums.of(header.metadata, [entry.name for entry in stored])
    _check_size(plan, by_codecs, max_working_bytes)
    # Only now: what a technique has to ask of a slice may take time with its size.
    _check_slices(plan)
    if checksums.KEY not in header.metadata:
        warnings.warn(f"{where}: the file holds no checksums", stacklevel=3)
        return plan, sha256
    digest = sha256.pop(checksums.HEADER)
    if checksums.of_header(text, digest) != digest:
        raise FormatError(
            "its header is damaged: it has another SHA-256 than it says", hint=AGAIN
        )
    return plan, sha256


def _check_size(plan: Plan, by_codecs: Mapping[str, Coded], most: int) -> None:
    """What a reader makes of a few stored bytes has a limit."""
    decoded = sum(each.nbytes for each in by_codecs.values())
    nbytes = sum(tensor.info.nbytes for tensor in plan.pooled) + decoded
    if nbytes > most:
        what = "working weights and decoded values" if decoded else "working weights"
        raise FormatError(
            f"its {what} take {nbytes} bytes; the limit is {most}",
            hint=f"If you trust the file, give --max-working-bytes {nbytes}",
        )


def _check_slices(plan: Plan) -> None:
    """Every slice can be expanded by its pool's technique."""
    for pool in plan.pools:
        if pool.technique.zero_copy:
            continue  # Whatever lies inside its pool can be read.
        for piece in pool.table.slices:
            if why := pool.technique.objection(pool.table, piece):
                raise FormatError(
                    f"technique {pool.technique.name}: {why}",
                    where=f"tensor {shown(piece.label)}",
                )


def data_problems(
    fd: int, header: Header, sha256: Mapping[str, str], where: str
) -> list[str]:
    """Read all data and say what is wrong with it, one sentence a problem."""
    problems = []
    if checksums.KEY not in header.metadata:
        problems.append("the file holds no checksums")
    for entry in header.entries:
        digest, nonzero, above_one = hashlib.sha256(), 0, 0
        for begin in range(0, entry.nbytes, _CHUNK):
            chunk = np.empty(min(_CHUNK, entry.nbytes - begin), "u1")
            at_byte = header.data_byte + entry.begin_byte + begin
            read_into(fd, chunk, at_byte, where)
            digest.update(chunk.data)
            nonzero += int(np.count_nonzero(chunk))
            above_one += int(np.count_nonzero(chunk > 1))
        found, expected = digest.hexdigest(), sha256.get(entry.name)
        name = _place(entry)
        if is_pad(entry):
            if nonzero:
                problems.append(f"{name}: {nonzero} bytes of padding are not zero")
        elif expected is not None and found != expected:
            problems.append(
                f"{name}: damaged: its SHA-256 is {found[:16]}…, the header says"
                f" {expected[:16]}…"
            )
        elif entry.dtype.code == "BOOL" and above_one:
            problems.append(f"{name}: {above_one} BOOLs are neither 0 nor 1")
    return problems


def _plan(metadata: dict[str, str]) -> Plan:
    found = metadata.get("format")
    if found != "wpool":
        was = "none" if found is None else shown(found)
        raise FormatError(
            f"a safetensors file, but no .wpool: its format is {was}, not 'wpool'",
            hint="`wpack compress` makes a .wpool of a checkpoint",
        )
    version = metadata.get("wpool.version", "")
    if version != VERSION:
        raise FormatError(
            f"written for version {shown(version)} of the format; this wpack reads"
            f" version {VERSION}",
            hint="Upgrade wpack",
        )
    for key in metadata:
        known = key in _KEYS or key.startswith(_INFORMATION)
        if key.startswith("wpool.") and not known:
            raise FormatError(f"unknown key {shown(key)}", where="__metadata__")
    return read_plan(plan_text.text_of(metadata))


def _check_names(plan: Plan) -> None:
    """Names that are not stored, which the header cannot vouch for."""
    names = [t.info.name for t in plan.tensors if t.pieces or t.info.alias_of]
    for pool in plan.pools:
        names += [piece.part for piece in pool.table.slices if piece.part]
    for name in names:
        if problem := name_problem(name):
            raise FormatError(problem, where="plan")


def _without_padding(header: Header) -> list[Entry]:
    """The entries that the plan has to account for."""
    stored = []
    for entry in header.entries:
        if not is_pad(entry):
            stored.append(entry)
        elif entry.dtype.code != "U8" or entry.nbytes >= max(ALIGNMENTS):
            raise FormatError("no padding: U8, below 65536 bytes", where=_place(entry))
    return stored


def _check_stored(
    plan: Plan, by_codecs: Mapping[str, Coded], stored: list[Entry]
) -> None:
    """Every pool, kept tensor and group is stored as the plan says, and nothing else
    is."""
    wanted: dict[str, tuple[DType, tuple[int, ...]]] = {
        POOL_PREFIX + pool.name: (pool.dtype, (pool.backing,)) for pool in plan.pools
    }
    alone = (t.info for t in plan.kept if t.group is None)
    wanted |= {info.name: (info.dtype, info.shape) for info in alone}
    wanted |= {name: (BYTES, ()) for name in by_codecs}
    for entry in stored:
        if entry.name not in wanted:
            raise FormatError(_why_stray(plan, entry.name), where=_place(entry))
        dtype, shape = wanted.pop(entry.name)
        if entry.name in by_codecs:
            _check_coded(entry, by_codecs[entry.name])
        elif entry.shape != shape or entry.dtype.code != dtype.code:
            raise FormatError(
                f"stored as {entry.dtype.code} {list(entry.shape)}, but the plan says"
                f" {dtype.code} {list(shape)}",
                where=_place(entry),
            )
    if wanted:
        first = next(iter(wanted))
        more = f" (and {len(wanted) - 1} more)" if len(wanted) > 1 else ""
        raise FormatError(
            f"is in the plan but not stored{more}", where=f"tensor {shown(first)}"
        )


def _check_coded(entry: Entry, planned: Coded) -> None:
    """What codecs have made is bytes, and of a size that they can have made."""
    most, chain = planned.most_stored_bytes, planned.chain
    if entry.dtype != BYTES or len(entry.shape) != 1:
        raise FormatError(
            f"stored as {entry.dtype.code} {list(entry.shape)}, but what codecs make is"
            " U8 of one dimension",
            where=_place(entry),
        )
    if entry.nbytes > most or (entry.nbytes != most and not chain.entropy):
        exactly = "at most" if chain.entropy else "exactly"
        raise FormatError(
            f"{entry.nbytes} bytes are stored, but {', '.join(chain.names)} make"
            f" {exactly} {most} of {planned.numel} values",
            where=_place(entry),
        )


def _why_stray(plan: Plan, name: str) -> str:
    planned = plan.by_name.get(name)
    if planned is None:
        return "is stored, but the plan does not mention it"
    source = "an alias" if planned.kind == "alias" else "made from pools"
    if planned.group is not None:
        source = f"in group {planned.group}"
    return f"is stored, but it is {source} in the plan"


def _check_places(
    plan: Plan, by_codecs: Mapping[str, Coded], data_byte: int, stored: list[Entry]
) -> None:
    """Pools come first and start where a map may unless they are coded; the rest lies
    on its elements."""
    if data_byte % plan.alignment:
        raise FormatError(
            f"the data section starts at byte {data_byte}, no multiple of the plan's"
            f" alignment {plan.alignment}"
        )
    kept: Entry | None = None
    for entry in stored:
        is_pool = entry.name.startswith(POOL_PREFIX)
        mapped = is_pool and entry.name not in by_codecs
        multiple = plan.alignment if mapped else entry.dtype.itemsize
        if entry.begin_byte % multiple:
            raise FormatError(
                f"starts at byte {entry.begin_byte} of the data, no multiple of"
                f" {multiple}",
                where=_place(entry),
            )
        if not is_pool:
            kept = entry
        elif kept is not None:
            raise FormatError(
                f"stands after {_place(kept)}; pools come first", where=_place(entry)
            )


def _place(entry: Entry) -> str:
    return f"tensor {shown(entry.name)}"
