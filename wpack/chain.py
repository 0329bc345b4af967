"""A chain of codecs: values as the bytes that a file holds, and back.

The empty chain stores values as they are, and nothing here is asked to do that.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from . import blob
from .blob import Blob, Read
from .codecs import Alphabet, Codec, Entropy, Quantiser, Selector, Stream
from .decoding import PIECE, Values, copying, pieces, rounding, scatter
from .errors import FormatError
from .tensors import DType, first_not_finite, from_float


class StageSize(NamedTuple):
    """What a pool takes after a stage of its chain.

    Attributes:
        codec: The stage's name; "" for the values themselves.
    """

    codec: str
    nbytes: int


class Encoded(NamedTuple):
    """A pool as its file holds it.

    Attributes:
        data: ``(nbytes,)`` of ``u1``.
        stages: What it takes before the first stage and after each.
        entropy_nbytes: The order-0 entropy of its symbols, in bytes.
    """

    data: np.ndarray
    stages: tuple[StageSize, ...]
    entropy_nbytes: float


@dataclass(frozen=True)
class Chain:
    """At most one selector, one quantiser and one entropy coder, in this order.

    Raises:
        ValueError: They stand in another order, or two do the same.
    """

    codecs: tuple[Codec, ...] = ()

    def __post_init__(self) -> None:
        for first, then in zip(self.codecs, self.codecs[1:], strict=False):
            if first.stage == then.stage:
                raise ValueError(
                    f"{first.name} and {then.name} do the same: a chain has one of them"
                )
            if first.stage > then.stage:
                raise ValueError(f"{then.name} must come before {first.name}")

    def __bool__(self) -> bool:
        return bool(self.codecs)

    @cached_property
    def selector(self) -> Selector | None:
        """What says which values are stored."""
        return next((c for c in self.codecs if isinstance(c, Selector)), None)

    @cached_property
    def quantiser(self) -> Quantiser | None:
        """What makes symbols of values; None: their own bits are."""
        return next((c for c in self.codecs if isinstance(c, Quantiser)), None)

    @cached_property
    def entropy(self) -> Entropy | None:
        """What makes the size depend on the values."""
        return next((c for c in self.codecs if isinstance(c, Entropy)), None)

    @property
    def names(self) -> tuple[str, ...]:
        """The codecs' names."""
        return tuple(codec.name for codec in self.codecs)

    def to_json(self) -> list[dict[str, Any]]:
        """The codecs, with those of their fields that differ from the defaults."""
        return [{"name": codec.name, **codec.options()} for codec in self.codecs]

    def bound(self, numel: int, dtype: DType) -> int:
        """Bytes that ``numel`` values of ``dtype`` take: at most, and exactly where
        there is no entropy coder."""
        return blob.bound(self._alphabets(numel, dtype))

    def encode(
        self,
        values: np.ndarray,
        dtype: DType,
        importance: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> Encoded:
        """Values as the bytes to store.

        What is decoded is encoded to the same values again, provided that the same ones
        are selected: of the zeros that a quantiser makes, a selector that is asked anew
        may choose others.  And provided that ``dtype`` has more than 16 bits, or there
        is no quantiser: what was rounded may be nearest to another scale.

        Args:
            values: ``(numel,)`` of ``sum_dtype(dtype)``.
            dtype: The poolable dtype that they are decoded to.
            importance: As for :meth:`wpack.codecs.Selector.select`.
            mask: What that gave, where it has been asked.

        Raises:
            ValueError: A value is NaN or infinite, or what is decoded would be.
        """
        if not np.isfinite(values).all():
            bad = values.size - int(np.isfinite(values).sum())
            raise ValueError(f"{bad} values are NaN or infinite, which no codec stores")
        streams: list[Stream] = []
        stages = [StageSize("", values.size * dtype.itemsize)]
        if self.selector:
            if mask is None:
                mask = self.selector.select(values, importance)
            streams.append(Stream(mask.view("u1"), 2))
            nbytes = Chain((self.selector,)).bound(values.size, dtype)
            stages.append(StageSize(self.selector.name, nbytes))
            values = values[mask]
        if self.quantiser:
            made = self.quantiser.encode(values)
            _check_room(_largest(self.quantiser, made), dtype, self.quantiser.name)
            streams += made
        else:
            _check_room(float(np.abs(values).max(initial=0)), dtype, "")
            streams.append(_bits(from_float(values, dtype)))
        written = blob.write(streams, self.entropy)
        if self.quantiser:
            stages.append(StageSize(self.quantiser.name, written.packed_nbytes))
        if self.entropy:
            stages.append(StageSize(self.entropy.name, len(written.data)))
        return Encoded(written.data, tuple(stages), written.entropy_nbytes)

    def decode(
        self, read: Read, nbytes: int, dtype: DType, out: np.ndarray, where: str
    ) -> None:
        """Decode a piece at a time, straight into ``out`` where that can be; beside it
        this takes a few blocks of memory, and what the quantiser's parameters take (a
        scale for each block of weights).

        Args:
            read: Gives the stored bytes.
            nbytes: How many there are.
            out: ``(numel,)``, raw of ``dtype``; what is decoded is put here.
            where: What to call the pool in messages.

        Raises:
            FormatError: The bytes are no such pool's.
        """
        alphabets = self._alphabets(len(out), dtype)
        stored = Blob(read, nbytes, alphabets, self.entropy, where=where)
        if self.selector is None:
            self._values(stored, 0, len(out), dtype, where).read(out)
            return
        survivors = self.selector.survivors(len(out))
        values = self._values(stored, 1, survivors, dtype, where)
        scatter(pieces(stored.chunks(0)), values, survivors, out, where)

    def _values(
        self, stored: Blob, first: int, numel: int, dtype: DType, where: str
    ) -> Values:
        """What the streams from ``first`` on hold."""
        if self.quantiser is None:
            words = max(1, dtype.itemsize // 4)
            codes = pieces(stored.chunks(first))
            return Values(codes, words, copying(dtype), dtype, where)
        last = first + len(self.quantiser.alphabets(numel)) - 1
        parameters = [stored.whole(index) for index in range(first, last)]
        try:
            decode = self.quantiser.decoder(parameters, numel)
        except ValueError as error:
            raise FormatError(str(error), where=where) from None
        codes = pieces(stored.chunks(last))
        return Values(codes, 1, rounding(decode, dtype), dtype, where)

    def _alphabets(self, numel: int, dtype: DType) -> tuple[Alphabet, ...]:
        mask = []
        if self.selector:
            mask = [Alphabet(numel, 2)]
            numel = self.selector.survivors(numel)
        if self.quantiser:
            return (*mask, *self.quantiser.alphabets(numel))
        words = -(-dtype.itemsize // 4)
        return (*mask, Alphabet(numel * words, 1 << 8 * dtype.itemsize // words))


#: Values stored as they are.
PLAIN = Chain()


def _largest(quantiser: Quantiser, streams: tuple[Stream, ...]) -> float:
    """The largest magnitude that streams are decoded to."""
    *parameters, codes = (stream.symbols for stream in streams)
    decode = quantiser.decoder(parameters, len(codes))
    most, made = 0.0, np.empty(min(PIECE, len(codes)), "<f4")
    for at in range(0, len(codes), PIECE):
        piece = codes[at : at + PIECE]
        decode(piece, at, made[: len(piece)])
        most = max(most, float(np.abs(made[: len(piece)]).max()))
    return most


def _check_room(magnitude: float, dtype: DType, maker: str) -> None:
    """Refuse what would be infinite in ``dtype``, and who has made it.

    Raises:
        ValueError: It would.
    """
    raw = from_float(np.array([magnitude]), dtype)
    if first_not_finite(raw, dtype) is not None:
        makes = f", which {maker} makes" if maker else ""
        raise ValueError(
            f"{dtype} has no room for a magnitude of {magnitude:.5g}{makes}"
        )


def _bits(raw: np.ndarray) -> Stream:
    """Values as symbols; one of eight bytes is two."""
    itemsize = min(raw.itemsize, 4)
    symbols = np.ascontiguousarray(raw).view(f"<u{itemsize}")
    return Stream(symbols, 1 << 8 * itemsize)
