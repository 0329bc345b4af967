"""Blobs for tests, read with care and written by hand; and chains that make them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter

from wpack import codecs
from wpack.blob import Blob, Read
from wpack.chain import PLAIN, Chain
from wpack.codecs import Alphabet, Codec, Entropy
from wpack.spec.coding import Codecs
from wpack.tensors import DType

#: A spec's list of codecs.
SPEC: TypeAdapter[tuple[Codec, ...]] = TypeAdapter(Codecs)


def reader(data: bytes) -> Read:
    """Gives the bytes of ``data``, and is asked for no others."""

    def read(begin: int, end: int) -> np.ndarray:
        assert 0 <= begin <= end <= len(data)
        return np.frombuffer(data[begin:end], "u1")

    return read


def record(nbytes: int, form: int = 0, nothing: bytes = bytes(7)) -> bytes:
    """A stream's entry in the directory."""
    return struct.pack("<QB7s", nbytes, form, nothing)


def streams(
    data: bytes, alphabets: Sequence[Alphabet], entropy: Entropy | None = None
) -> list[np.ndarray]:
    """All symbols of a blob."""
    found = Blob(reader(data), len(data), alphabets, entropy, "pool 'main'")
    return [found.whole(index) for index in range(len(alphabets))]


def decoded(chain: Chain, data: bytes, numel: int, dtype: DType) -> np.ndarray:
    """The raw values of a blob."""
    out = np.full(numel, 77, dtype.raw)
    chain.decode(reader(data), len(data), dtype, out, "pool 'main'")
    return out


def chain_of(written: str) -> Chain:
    """The chain that a spec's list means, ``"prune: 0.5, int: {bits: 4}, zstd"``.

    The empty one where the file of one of its codecs is gone: the tests of that codec
    have to be found before they can be deselected.
    """
    items = _items(written)
    if not set(codecs.names()).issuperset(name for name, _ in items):
        return PLAIN
    return Chain(SPEC.validate_python([{name: value} for name, value in items]))


def chains(*written: str) -> list[Any]:
    """Parameters for a test: chains, each of them gone with its codecs."""
    return [
        pytest.param(chain_of(each), id=each, marks=needs(each)) for each in written
    ]


def needs(*written: str) -> pytest.MarkDecorator:
    """The mark of a test that needs the codecs of these chains."""
    return pytest.mark.codec(*(name for each in written for name, _ in _items(each)))


def _items(written: str) -> list[tuple[str, Any]]:
    items = yaml.safe_load(f"[{written}]")
    return [(i, None) if isinstance(i, str) else next(iter(i.items())) for i in items]
