"""Codecs to test, weights to test them with, and the way there and back."""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import numpy as np
from hypothesis import strategies as st

from wpack import codecs
from wpack.codecs import Codec, Entropy, Quantiser, Selector

_Kind = TypeVar("_Kind", bound=Codec)

#: Fields to test beside the defaults.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "binary": [{"block": 8}],
    "int": [{"bits": 2, "block": 8}, {"bits": 3}, {"bits": 4}, {"bits": 5, "block": 8}],
    "kmeans": [{"bits": 1}, {"bits": 3}],
    "pow2": [{"bits": 2}, {"bits": 6}],
    "prune": [{"share": 0.0}, {"share": 0.29}],
    "ternary": [{"block": 8}],
    "zstd": [{"level": 1}],
}


def every(kind: type[_Kind]) -> list[_Kind]:
    """All codecs of a kind that are there, with their variants."""
    found = []
    for name in codecs.names():
        made = codecs.named(name)
        if issubclass(made, kind):
            found += [made(**fields) for fields in [{}, *VARIANTS.get(name, [])]]
    return found


def called(codec: Codec) -> str:
    """What to call a codec in the name of a test."""
    return ",".join([codec.name, *(f"{k}={v}" for k, v in codec.options().items())])


def decoded(quantiser: Quantiser, values: np.ndarray) -> np.ndarray:
    """What comes back, in the dtype of the values."""
    *parameters, codes = (stream.symbols for stream in quantiser.encode(values))
    made = np.full(len(values), np.nan, values.dtype)
    quantiser.decoder(parameters, len(values))(codes, 0, made)
    return made


def fingerprints() -> list[str]:
    """A hash of what each codec makes of the same weights."""
    values = (np.arange(1, 70_000) * 0.6180339887 % 1 - 0.5).astype("<f4") ** 3
    found = []
    for codec in every(Codec):
        digest = hashlib.sha256(called(codec).encode())
        if isinstance(codec, Quantiser):
            for stream in codec.encode(values):
                digest.update(stream.symbols.tobytes())
        elif isinstance(codec, Selector):
            digest.update(codec.select(values).tobytes())
        elif isinstance(codec, Entropy):
            digest.update(codec.compress(values.view("u1")))
        found.append(digest.hexdigest())
    return found


_KINDS = ("normal", "spread", "sparse", "repeated", "constant", "outlier")


@st.composite
def weights(draw: Any, dtype: str = "<f4", numel: Any = None) -> np.ndarray:
    """Up to 300 weights of ±3e4 at most: like those of a network, of many magnitudes,
    with zeros, few distinct, all the same, one far larger than all others."""
    kind = draw(st.sampled_from(_KINDS))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(0, 300) if numel is None else numel)
    values = random.standard_normal(count)
    if kind == "spread":
        values *= 10.0 ** random.integers(-9, 1, count)
    elif kind == "sparse":
        values[random.random(count) < 0.7] = 0
    elif kind == "repeated":
        values = values[: 1 + count // 20].repeat(20)[:count]
    elif kind == "constant":
        values[:] = values[:1]
    elif kind == "outlier" and count:
        values[count // 2] *= 1e3
    made: np.ndarray = (values * 10.0 ** draw(st.integers(-12, 0))).astype(dtype)
    return made


def block_most(values: np.ndarray, block: int) -> np.ndarray:
    """For each value, the largest magnitude in its block."""
    starts = np.arange(0, len(values), block)
    most = np.maximum.reduceat(np.abs(values), starts) if len(values) else values
    return most.repeat(block)[: len(values)]
