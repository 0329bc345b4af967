"""From text to numbers of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .errors import TrainingError, UsageError
from .text import load_raw, load_text
from .transformers_folder import library

#: Characters that an error message lists.
_LISTED = 5


class Vocabulary(Protocol):
    """What a text consists of.

    Attributes:
        unit: What one token is: ``"character"``, ``"byte"`` or ``"token"``.
    """

    unit: str

    def encode(self, path: Path) -> np.ndarray:
        """The tokens of a text file, ``(tokens,)`` of an unsigned dtype.

        Raises:
            TrainingError: The file cannot be read, is no UTF-8 text, or has what is
                not in the vocabulary.
        """


class Bytes:
    """The 256 bytes; the file is mapped and may be anything."""

    unit = "byte"

    def encode(self, path: Path) -> np.ndarray:
        """See :meth:`Vocabulary.encode`."""
        return load_raw(path, "uint8")


class Characters:
    """The characters of a text, in the order of their code points, as nanoGPT has them.

    Args:
        path: The text whose characters they are.

    Raises:
        TrainingError: It cannot be read, or is no UTF-8 text.
    """

    unit = "character"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.codes = np.unique(_codes(path))

    def encode(self, path: Path) -> np.ndarray:
        """See :meth:`Vocabulary.encode`."""
        codes = _codes(path)
        numbers = np.searchsorted(self.codes, codes)
        known = np.append(self.codes, 0)[numbers] == codes
        if not known.all():
            new = [repr(chr(code)) for code in np.unique(codes[~known])]
            more = ", …" if len(new) > _LISTED else ""
            raise TrainingError(
                f"{len(new)} of its characters are not in {self.path.name}:"
                f" {', '.join(new[:_LISTED])}{more}",
                where=path,
                hint="Train on a text that has them, or set tokenizer: bytes",
            )
        return numbers.astype(np.uint16 if len(self.codes) <= 1 << 16 else np.uint32)


class Encoded:
    """The tokens of a tokenizer, no special ones added; whole texts are encoded at
    once.

    Args:
        encode: Text → numbers of tokens.
    """

    unit = "token"

    def __init__(self, encode: Callable[[str], Sequence[int]]) -> None:
        self._encode = encode

    def encode(self, path: Path) -> np.ndarray:
        """See :meth:`Vocabulary.encode`."""
        return np.asarray(self._encode(load_text(path)), np.uint32)


def tokenizer_file(path: Path) -> Encoded:
    """The vocabulary of a ``tokenizer.json``, which the library tokenizers reads.

    Raises:
        UsageError: There is no such file, it is no tokenizer, or the library is not
            installed.
    """
    if not path.is_file():
        raise UsageError(
            "there is no such file",
            where=path,
            hint="tokenizer is characters, bytes or the path of a tokenizer.json",
        )
    tokenizers = library("tokenizers")
    try:
        found = tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # All that the library raises are plain exceptions.
        raise UsageError(f"is no tokenizer: {error}", where=path) from None

    def encode(text: str) -> Sequence[int]:
        ids: Sequence[int] = found.encode(text, add_special_tokens=False).ids
        return ids

    return Encoded(encode)


def _codes(path: Path) -> np.ndarray:
    """The code points of a text, ``(characters,)`` uint32."""
    return np.frombuffer(load_text(path).encode("utf-32-le"), "<u4")
