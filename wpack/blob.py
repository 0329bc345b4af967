"""The bytes of a coded pool: its streams, one after another (``docs/format.md``, §9).

A directory of one record a stream, then the streams' payloads in the same order.  A
stream is cut into chunks of :data:`CHUNK` symbols, so that it can be read a chunk at a
time; how many symbols it has and of how many levels is the chain's to know.  Everything
read here may have been written by a stranger.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np

from .codecs import Alphabet, Entropy, Stream
from .codecs._packing import (
    aligned,
    check_below,
    pack,
    packed_nbytes,
    symbol_dtype,
    unpack,
)
from .errors import FormatError
from .tensors import BLOCK

#: Symbols in a chunk: a block of values has as many.
CHUNK = BLOCK

#: Symbols put together at a time, so that they stay in a core's cache.
_STRETCH = 1 << 14
#: Bytes of the payload, its form, seven zeros.
_RECORD = struct.Struct("<QB7s")
_NOTHING = bytes(7)
#: Forms of a payload: packed as it is; or the sizes of its frames as ``<u4``, and then
#: the frames, the entropy coder's, one for each chunk, packed so that no symbol crosses
#: the border of a byte, or one for each byte of a chunk's symbols.
_PLAIN, _PACKED, _SPREAD = range(3)

#: ``read(begin, end)``: these bytes of the blob, as ``u1``.
Read = Callable[[int, int], np.ndarray]


class Written(NamedTuple):
    """A blob.

    Attributes:
        data: ``(nbytes,)`` of ``u1``.
        packed_nbytes: What it would take without an entropy coder.
        entropy_nbytes: The order-0 entropy of its symbols, stream by stream, in bytes:
            what no coder that looks at one symbol at a time goes below.
    """

    data: np.ndarray
    packed_nbytes: int
    entropy_nbytes: float


def bound(alphabets: Sequence[Alphabet]) -> int:
    """Bytes of a blob of these streams: at most, and exactly where it has no entropy
    coder."""
    return len(alphabets) * _RECORD.size + sum(map(_plain_nbytes, alphabets))


def write(streams: Sequence[Stream], entropy: Entropy | None) -> Written:
    """Streams as a blob, each in the form that takes the fewest bytes."""
    directory, payloads = [], []
    for stream in streams:
        forms = _PLAIN, *(_worth_trying(stream.levels) if entropy else ())
        made = [(form, _payload(stream, form, entropy)) for form in forms]
        form, payload = min(made, key=lambda item: len(item[1]))
        directory.append(_RECORD.pack(len(payload), form, _NOTHING))
        payloads.append(payload)
    return Written(
        np.frombuffer(b"".join([*directory, *payloads]), "u1"),
        bound([Alphabet(len(symbols), levels) for symbols, levels in streams]),
        sum(map(_entropy_nbytes, streams)),
    )


class Blob:
    """A blob to be read, whose directory has been checked.

    Args:
        read: Gives its bytes.
        nbytes: Its size.
        alphabets: What streams it must hold.
        where: What to call it in messages.

    Raises:
        FormatError: Its directory is not that of such streams.
    """

    def __init__(
        self,
        read: Read,
        nbytes: int,
        alphabets: Sequence[Alphabet],
        entropy: Entropy | None,
        where: str,
    ) -> None:
        self._read, self._entropy, self._where = read, entropy, where
        self._alphabets = alphabets
        at = len(alphabets) * _RECORD.size
        if at > nbytes:
            raise FormatError(
                f"its {nbytes} bytes hold no {len(alphabets)} streams", where=where
            )
        directory = _RECORD.iter_unpack(read(0, at).tobytes())
        self._places: list[tuple[int, int, int]] = []
        for index, (size, form, nothing) in enumerate(directory):
            self._check(index, size, form, nothing)
            self._places.append((form, at, at + size))
            at += size
        if at != nbytes:
            raise FormatError(f"its streams end at byte {at} of {nbytes}", where=where)

    def whole(self, index: int) -> np.ndarray:
        """All symbols of a stream.

        Raises:
            FormatError: A chunk is damaged.
        """
        chunks = list(self.chunks(index))
        if len(chunks) == 1:
            return chunks[0]
        empty = np.empty(0, symbol_dtype(self._alphabets[index].levels))
        return np.concatenate([empty, *chunks])

    def chunks(self, index: int) -> Iterator[np.ndarray]:
        """A stream's symbols, :data:`CHUNK` at a time.

        Raises:
            FormatError: A chunk is damaged.
        """
        numel, levels = self._alphabets[index]
        form, at, _ = self._places[index]
        frames = self._frames(index)
        at += 0 if form == _PLAIN else 4 * frames.size
        for number, sizes in enumerate(frames.tolist()):
            size = min(CHUNK, numel - number * CHUNK)
            try:
                yield self._chunk(at, sizes, form, Alphabet(size, levels))
            except ValueError as error:
                where = f"{self._where}, stream {index}, chunk {number}"
                raise FormatError(str(error), where=where) from None
            at += sum(sizes)

    def _check(self, index: int, size: int, form: int, nothing: bytes) -> None:
        """Refuse a record of the directory that no such stream has."""
        where = f"{self._where}, stream {index}"
        numel = self._alphabets[index].numel
        plain = _plain_nbytes(self._alphabets[index])
        if form not in ((_PLAIN, _PACKED, _SPREAD) if self._entropy else (_PLAIN,)):
            raise FormatError(f"its form is {form}, which is not known", where=where)
        if nothing != _NOTHING:
            raise FormatError("its record does not end in zeros", where=where)
        if size > plain or (form == _PLAIN and size < plain):
            limit = "not" if form == _PLAIN else "more than"
            raise FormatError(
                f"its {numel} symbols take {size} bytes, {limit} {plain}", where=where
            )

    def _frames(self, index: int) -> np.ndarray:
        """Bytes of the frames of a stream's chunks, ``(chunks, frames of each)``."""
        form, begin, end = self._places[index]
        numel, levels = self._alphabets[index]
        chunks = -(-numel // CHUNK)
        if form == _PLAIN:
            starts = range(0, numel, CHUNK)
            sizes = [packed_nbytes(min(CHUNK, numel - at), levels) for at in starts]
            return np.array(sizes, "<i8").reshape(chunks, 1)
        each = np.dtype(symbol_dtype(levels)).itemsize if form == _SPREAD else 1
        table, frames = begin + 4 * chunks * each, np.empty(0, "<u4")
        if table <= end:
            frames = np.frombuffer(self._read(begin, table), "<u4")
        if table + int(frames.sum(dtype="<u8")) != end:
            raise FormatError(
                f"the sizes of its {chunks * each} frames do not add up to its own",
                where=f"{self._where}, stream {index}",
            )
        return frames.reshape(chunks, each)

    def _chunk(
        self, at: int, sizes: list[int], form: int, alphabet: Alphabet
    ) -> np.ndarray:
        """The symbols of a chunk that begins at a byte and has frames of these sizes.

        Raises:
            ValueError: It is damaged.
        """
        numel, levels = alphabet
        if form == _PLAIN:
            symbols = unpack(self._read(at, at + sizes[0]), levels, numel)
        elif form == _PACKED:
            levels_ = aligned(levels)
            raw = self._raw(at, sizes[0], packed_nbytes(numel, levels_))
            symbols = unpack(raw, levels_, numel)
        else:
            places = zip(accumulate(sizes, initial=at), sizes, strict=False)
            planes = [self._raw(place, size, numel) for place, size in places]
            symbols = _gathered(planes, symbol_dtype(levels))
        check_below(symbols, levels)
        return symbols

    def _raw(self, at: int, size: int, nbytes: int) -> np.ndarray:
        """What a frame holds that begins at a byte."""
        assert self._entropy is not None  # or the form was refused
        if size > _most_frame_bytes(nbytes):
            raise ValueError(f"its frame takes {size} bytes for {nbytes}")
        return self._entropy.decompress(self._read(at, at + size), nbytes)


def _worth_trying(levels: int) -> tuple[int, ...]:
    """Forms with an entropy coder; where a symbol is a byte, both are the same."""
    return (_PACKED,) if aligned(levels) == 256 else (_PACKED, _SPREAD)


def _most_frame_bytes(nbytes: int) -> int:
    """What a frame of that many bytes may take, so that reading one takes no more
    memory than a chunk; no coder needs as much."""
    return nbytes + nbytes // 128 + 64


def _plain_nbytes(alphabet: Alphabet) -> int:
    """Bytes of a stream's chunks, packed."""
    chunks, rest = divmod(alphabet.numel, CHUNK)
    whole = packed_nbytes(CHUNK, alphabet.levels)
    return chunks * whole + packed_nbytes(rest, alphabet.levels)


def _payload(stream: Stream, form: int, entropy: Entropy | None) -> bytes:
    symbols, levels = stream
    chunks = (symbols[at : at + CHUNK] for at in range(0, len(symbols), CHUNK))
    if entropy is None or form == _PLAIN:
        return b"".join(pack(chunk, levels).tobytes() for chunk in chunks)
    frames = [
        entropy.compress(raw)
        for chunk in chunks
        for raw in (
            _spread(chunk, levels)
            if form == _SPREAD
            else [pack(chunk, aligned(levels))]
        )
    ]
    return b"".join([np.array([*map(len, frames)], "<u4").tobytes(), *frames])


def _spread(symbols: np.ndarray, levels: int) -> np.ndarray:
    """The symbols' first bytes, their second ones, and so on: ``(bytes, numel)``."""
    raw = np.ascontiguousarray(symbols, symbol_dtype(levels))
    planes = raw.view("u1").reshape(-1, raw.itemsize)
    return np.ascontiguousarray(planes.T)


def _gathered(planes: list[np.ndarray], dtype: str) -> np.ndarray:
    """The symbols that :func:`_spread` was given."""
    if len(planes) == 1:
        return planes[0]
    symbols = np.empty(len(planes[0]), dtype)
    for begin in range(0, len(symbols), _STRETCH):
        first, *others = (plane[begin : begin + _STRETCH] for plane in planes)
        stretch = symbols[begin : begin + _STRETCH]
        stretch[:] = first
        for place, plane in enumerate(others, 1):
            stretch |= plane.astype(dtype) << symbols.dtype.type(8 * place)
    return symbols


def _entropy_nbytes(stream: Stream) -> float:
    """Order-0 entropy; of symbols of several bytes, that of each byte in its place."""
    symbols, levels = stream
    planes = np.dtype(symbol_dtype(levels)).itemsize
    counts = np.zeros((planes, 256), "<i8")
    for at in range(0, len(symbols), CHUNK):
        bytes_ = _spread(symbols[at : at + CHUNK], levels)
        for plane, count in zip(bytes_, counts, strict=True):
            count += np.bincount(plane, minlength=256)
    shares = counts[counts > 0] / max(1, len(symbols))
    return float(-(shares * np.log2(shares)).sum()) * len(symbols) / 8
