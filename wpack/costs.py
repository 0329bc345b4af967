"""What a file costs, as values: files, pools, tensors, and what loading took.

:mod:`wpack.stats` fills them in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StageStats:
    """What a coded pool or group takes after one of its codecs.

    Attributes:
        codec: The codec's name; "" for the values themselves.
    """

    codec: str
    bytes: int


@dataclass(frozen=True)
class PartStats:
    """One slice of a tensor: ``numel`` working weights from ``length`` of a pool."""

    pool: str
    start: int
    length: int
    numel: int


@dataclass(frozen=True)
class TensorStats:
    """One tensor.

    Attributes:
        kind: ``pooled``, ``kept`` or ``alias``.
        stored_bytes: What it costs in the file; a pooled tensor's is its share of its
            pools, by working weights, a coded kept one's its share of its group.
        zero_copy: Whether loading it copies nothing: decoding what it is a view of,
            once, is no copying of it.
        why_copied: Why it is not a view, or "".
        codecs: Of a kept tensor that is coded, in a group of such.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    kind: str
    parts: tuple[PartStats, ...]
    stored_bytes: int
    zero_copy: bool
    why_copied: str = ""
    codecs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoolStats:
    """One pool.

    Attributes:
        codecs: That store it, in the order of encoding.
        ratio: N_w / N_b.
        stored_bytes: What the file holds of it.
        multiplications: How many make all its working weights (the paper's Table I).
        random_accesses: How many of its reads leave the order of storage.
        zero_copy: Whether its technique gives backing weights as they lie, with no
            work for a weight.  Which tensors are views, the tensors say.
        decoded_bytes: What loading decodes it to, once; 0 for a pool without codecs.
        stages: Bytes before its first codec and after each; None for a pool without
            codecs, and where they are not known.
        entropy_bytes: The order-0 entropy of its symbols: what no coder that looks at
            one symbol at a time goes below.  None as for ``stages``.
    """

    name: str
    technique: str
    dtype: str
    codecs: tuple[str, ...]
    backing: int
    working: int
    ratio: float
    stored_bytes: int
    tensors: int
    multiplications: int
    random_accesses: int
    zero_copy: bool
    decoded_bytes: int = 0
    stages: tuple[StageStats, ...] | None = None
    entropy_bytes: int | None = None


@dataclass(frozen=True)
class GroupStats:
    """Kept tensors that are coded together, of which a file may have several groups.

    Attributes:
        tensors: How many.
        numel: Entries of all of them.
        stored_bytes: What the file holds of them.
        decoded_bytes: As for a pool, and so ``stages`` and ``entropy_bytes``.
    """

    dtype: str
    codecs: tuple[str, ...]
    tensors: int
    numel: int
    stored_bytes: int
    decoded_bytes: int
    stages: tuple[StageStats, ...] | None = None
    entropy_bytes: int | None = None


@dataclass(frozen=True)
class Loaded:
    """What the tensors taken from a file have cost; aliases count once.

    Attributes:
        views: Tensors that are stored or decoded bytes and nothing else: ranges of
            pools as they lie in memory, and what the file keeps.
        wrapped: Tensors that are a range of their pool with its head appended, where
            its pages could not be laid back to back.
        computed: Tensors with memory of their own: made by a technique, converted to
            another dtype, or joined from parts that do not lie side by side.
        computed_seconds: Wall-clock time in which those were made, reading what they
            are made from included, but no decoding.
        copied_bytes: Bytes made beside the stored and decoded ones: ``computed_bytes``,
            and what was appended to pools.
        decoded_bytes: Bytes that codecs gave, once: of pools and of kept tensors.
        decoded_seconds: Wall-clock time in which they did, reading included.
    """

    views: int
    views_bytes: int
    wrapped: int
    wrapped_bytes: int
    computed: int
    computed_bytes: int
    computed_seconds: float
    copied_bytes: int
    decoded_bytes: int
    decoded_seconds: float


@dataclass(frozen=True)
class LoadStats(Loaded):
    """What it took to open a file and take every tensor.

    Attributes:
        backend: ``mmap``, ``memfd`` or ``copy``.
        seconds: Wall-clock time of all of it.  What is mapped has not been read then.
    """

    backend: str
    seconds: float


@dataclass(frozen=True)
class FileStats:
    """One file.

    Attributes:
        file_bytes: Its size, or what that is at most; see ``exact``.
        header_bytes: Header, alignment and padding.
        working_parameters: Trainable entries of the tensors that a network computes
            with, aliases once.  Running statistics and integers are no parameters.
        free_parameters: Trainable entries stored: backing weights and kept parameters.
        ratio: ``working_parameters / free_parameters``.
        inflated_bytes: Bytes of all tensors when each stands on its own.
        zero_copy_bytes: Bytes of working weights and kept tensors loaded as views.
        copied_bytes: Bytes that loading makes beside the stored and decoded ones.
        load: What loading took, where it was tried.
        exact: Whether the sizes are the file's own.  They are upper bounds where an
            entropy coder has yet to see the values.
        decoded_bytes: Bytes that loading decodes, once, whatever is made of them.
        groups: Kept tensors that are coded.
    """

    path: str
    format: str
    file_bytes: int
    header_bytes: int
    working_parameters: int
    free_parameters: int
    backing_parameters: int
    kept_parameters: int
    ratio: float
    inflated_bytes: int
    zero_copy_bytes: int
    copied_bytes: int
    pools: tuple[PoolStats, ...]
    tensors: tuple[TensorStats, ...]
    load: LoadStats | None = None
    exact: bool = True
    decoded_bytes: int = 0
    groups: tuple[GroupStats, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The normative entry of ``wpack stats --json``."""
        return asdict(self)
