"""Codecs: how a pool's values are stored.

One codec a file; this folder's listing is the registry.  A file defines one frozen
dataclass derived from :class:`Selector`, :class:`Quantiser` or :class:`Entropy`; its
fields, all with defaults, are the codec's own YAML keys, the first of them the one that
``name: value`` sets, and its file name is the codec's name in a spec and in a
``.wpool``.

A chain (:mod:`wpack.chain`) has at most one of each, in this order:

    values ── selector ──► the values kept ── quantiser ──► symbols ── entropy ──► bytes

What passes between them is :class:`Stream`: unsigned integers below a number that the
chain knows before any value is seen.  Only the entropy stage makes a size depend on the
values.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ..options import Options, defined, listing

#: ``decode(codes, first, out)``: values ``first … first + len(out) - 1`` from codes.
#: ``out`` is float32 or float64; a stretch begins on a multiple of 2^16, and is as long
#: but for the last.  A code that stands for NaN or infinity is a ValueError.
Decode = Callable[[np.ndarray, int, np.ndarray], None]


class Alphabet(NamedTuple):
    """What a stream holds before its values are known.

    Attributes:
        numel: How many symbols.
        levels: Each is an unsigned integer below this: from 2 to 256, or 2^16 or 2^32.
    """

    numel: int
    levels: int


class Stream(NamedTuple):
    """Symbols to be stored.

    Attributes:
        symbols: ``(numel,)``, ``u1`` for up to 256 levels, ``<u2`` for 2^16, ``<u4``.
        levels: As in :class:`Alphabet`.
    """

    symbols: np.ndarray
    levels: int


@dataclasses.dataclass(frozen=True)
class Codec(Options):
    """One stage of a chain."""

    #: Where in a chain it stands; stages strictly increase.
    stage: ClassVar[int]

    def during(self, progress: float) -> Codec:
        """The codec as it stands in training, when ``progress`` of the steps, from 0 to
        1, is done.  What is evaluated and written is made with the codec itself."""
        return self


@dataclasses.dataclass(frozen=True)
class Selector(Codec):
    """Says which values are stored at all; the others are zero."""

    stage = 0

    @property
    def needs_importance(self) -> bool:
        """Whether :meth:`select` has to be told what an error in each value costs."""
        return False

    @abstractmethod
    def survivors(self, numel: int) -> int:
        """How many of ``numel`` values are stored."""

    @abstractmethod
    def select(self, values: Any, importance: Any | None = None) -> Any:
        """Which values are stored: ``(numel,)`` bool, true for ``survivors(numel)``.

        Args:
            values: ``(numel,)`` of numpy, float32 or float64, or of torch, whose answer
                is on the same device and the same to the bit; finite.
            importance: ``(numel,)``, what an error in each costs (its diagonal Fisher
                information), not negative; None where that is not known.

        Raises:
            ValueError: ``importance`` is needed and not known.
        """


@dataclasses.dataclass(frozen=True)
class Quantiser(Codec):
    """Values ↔ symbols: parameters (scales, a codebook), and a code for each value.

    Laws: decoding what :meth:`encode` gives, encoding that and decoding it again
    changes no bit; :meth:`encode` depends on nothing but its arguments; no error is
    larger than the class's docstring says, but for 2^-90.
    """

    stage = 1

    @abstractmethod
    def alphabets(self, numel: int) -> tuple[Alphabet, ...]:
        """What :meth:`encode` makes of ``numel`` values: the parameters' streams, and
        the codes' last, which has ``numel`` symbols."""

    @abstractmethod
    def encode(self, values: np.ndarray) -> tuple[Stream, ...]:
        """The streams that :meth:`alphabets` announces.

        Args:
            values: ``(numel,)`` float32 or float64, finite.

        Raises:
            ValueError: A value is too large for the codec.
        """

    @abstractmethod
    def decoder(self, parameters: Sequence[np.ndarray], numel: int) -> Decode:
        """What turns codes into values, any stretch of them at a time.

        Args:
            parameters: The symbols of all streams but the last.

        Raises:
            ValueError: A parameter cannot stand in a file (a scale that is NaN,
                infinite or negative); the message says which.
        """

    def fake(self, values: Any) -> Any:
        """What decoding gives for ``values``, a 1-D torch tensor, on its device, in its
        dtype and without a gradient: ``decode(encode(values))`` to the bit, on a CPU.

        Raises:
            ValueError: As :meth:`encode`.
        """
        given = values.detach() if values.itemsize == 8 else values.detach().float()
        streams = self.encode(given.cpu().numpy())
        *parameters, codes = (stream.symbols for stream in streams)
        made = np.empty(len(codes), "<f8" if values.itemsize == 8 else "<f4")
        self.decoder(parameters, len(codes))(codes, 0, made)
        return values.new_tensor(made)

    def shared_gradient(self, latents: Any, gradient: Any) -> Any:
        """The gradient that training takes, of the values' gradient: where one
        parameter makes several values, the sum over them, for each.

        Args:
            latents: ``(numel,)``, the torch tensor that is trained.
            gradient: ``(numel,)``, of what :meth:`fake` made of it.
        """
        return gradient

    def fixed(self, latents: Any, progress: float) -> Any | None:
        """Which values hold what they are coded as and are trained no more.

        It looks at nothing but its arguments: what was fixed at an earlier step stays
        so, and a trainer keeps that.

        Args:
            latents: ``(numel,)``, the torch tensor that is trained.
            progress: As for :meth:`Codec.during`.

        Returns:
            ``(numel,)`` bool, on the same device; None where all are trained to the
            end, through :meth:`fake` in each forward pass.  Where some are fixed, the
            others are not coded yet.
        """
        return None


@dataclasses.dataclass(frozen=True)
class Entropy(Codec):
    """Bytes ↔ fewer bytes, without loss."""

    stage = 2

    @abstractmethod
    def compress(self, raw: np.ndarray) -> bytes:
        """The same bytes in fewer, as a rule; depends on nothing but ``raw`` and the
        codec's fields and library.

        Args:
            raw: ``(nbytes,)`` of ``u1``, contiguous.
        """

    @abstractmethod
    def decompress(self, frame: np.ndarray, nbytes: int) -> np.ndarray:
        """What :meth:`compress` was given.

        Args:
            frame: ``u1``, contiguous.
            nbytes: How many bytes that was, at least one; no more are ever made.

        Raises:
            ValueError: ``frame`` is not what ``compress`` makes of ``nbytes`` bytes.
        """


def names() -> list[str]:
    """All codecs there are: the files of this folder."""
    return listing(__name__)


@cache
def named(name: str) -> type[Codec]:
    """The codec class that ``wpack/codecs/<name>.py`` defines.

    Raises:
        SpecError: There is no such file; the message lists those there are.
    """
    return defined(__name__, name, "codec")
