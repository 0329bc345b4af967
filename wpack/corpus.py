"""The splits of a corpus: files of text or tokens, and shares of the training file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UsageError
from .text import RAW_DTYPES, TOKEN_SUFFIXES, load_tokens
from .vocabulary import Bytes, Characters, Encoded, Vocabulary, tokenizer_file

#: Where errors say that an option is.
TASK = "language-modeling"

#: What makes a text's tokens, when it is asked for: reading a tokenizer takes a while.
Encoder = Callable[[], Callable[[str], Sequence[int]]]


class Corpus:
    """Tokens of the splits ``train``, ``validation`` and ``test``.

    Args:
        sources: Split → a path, or ``{path, array, dtype}``; for all but ``train`` also
            the share of the training tokens to hold out, or None.
        folder: Where relative paths start.
        tokenizer: For text: ``characters`` (those of the training text), ``bytes``, or
            the path of a ``tokenizer.json``; None: ``encoder``.
        array: Name of an ``.npz``'s array, where a source does not say another.
        dtype: Of a ``.bin``'s numbers, likewise.

    Raises:
        UsageError: The options do not fit together.
    """

    def __init__(
        self,
        sources: Mapping[str, str | Mapping[str, str] | float | None],
        folder: Path,
        tokenizer: str | None = None,
        encoder: Encoder | None = None,
        *,
        array: str = "tokens",
        dtype: str = "uint16",
    ) -> None:
        self.folder = folder
        self.tokenizer = tokenizer
        self.shares = _shares(sources)
        self._files = {
            split: _parts(split, source, {"array": array, "dtype": dtype})
            for split, source in sources.items()
            if source is not None and split not in self.shares
        }
        self._encoder = encoder
        self._loaded: dict[str, np.ndarray] = {}

    @property
    def unit(self) -> str:
        """What one token of a text is: ``character``, ``byte`` or ``token``."""
        units = {"characters": "character", "bytes": "byte"}
        return units.get(self.tokenizer or "", "token")

    def path(self, split: str) -> Path | None:
        """The file of a split; what is held out of the training file is in that."""
        read = "train" if split in self.shares else split
        return self.folder / self._files[read]["path"] if read in self._files else None

    def tokens(self, split: str) -> np.ndarray | None:
        """The tokens of a split, ``(tokens,)`` or ``(texts, tokens)``, mapped where the
        file allows it; None: there is no such split.

        What is held out of the training tokens is one piece at their end: the share of
        ``test`` last, that of ``validation`` before it.

        Raises:
            TrainingError: A file cannot be read, or is not what its name says.
            UsageError: There is a text, and no tokenizer for it.
        """
        path = self.path(split)
        if path is None:
            return None
        if split != "train" and split not in self.shares:
            return self._load(split, path)
        everything = self._load("train", path)
        counts = {n: round(len(everything) * s) for n, s in self.shares.items()}
        test = len(everything) - counts.get("test", 0)
        validation = test - counts.get("validation", 0)
        pieces = {
            "train": slice(validation),
            "validation": slice(validation, test),
            "test": slice(test, None),
        }
        return everything[pieces[split]]

    def _load(self, split: str, path: Path) -> np.ndarray:
        if split not in self._loaded:
            if path.suffix in TOKEN_SUFFIXES:
                parts = self._files[split]
                found = load_tokens(path, parts["array"], parts["dtype"])
            else:
                found = self._vocabulary.encode(path)
            self._loaded[split] = found
        return self._loaded[split]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        if self.tokenizer == "bytes":
            return Bytes()
        if self.tokenizer == "characters":
            path = self.path("train")
            if path is None or path.suffix in TOKEN_SUFFIXES:
                raise UsageError(
                    f"{path} is no text whose characters could be taken",
                    where=f"{TASK}: tokenizer",
                )
            return Characters(path)
        if self.tokenizer is not None:
            return tokenizer_file(self.folder / self.tokenizer)
        if self._encoder is not None:
            return Encoded(self._encoder())
        raise UsageError(
            f"{self._first_text()} is a text, and no tokenizer is given",
            where=f"{TASK}: tokenizer",
            hint="Set it to characters, bytes or the path of a tokenizer.json",
        )

    def _first_text(self) -> str:
        paths = (Path(parts["path"]) for parts in self._files.values())
        return next(str(p) for p in paths if p.suffix not in TOKEN_SUFFIXES)


def _shares(sources: Mapping[str, Any]) -> dict[str, float]:
    """Split → the share of the training tokens that it holds out."""
    shares = {
        split: float(source)
        for split, source in sources.items()
        if split != "train"
        and isinstance(source, int | float)
        and not isinstance(source, bool)
    }
    for split, share in shares.items():
        if not 0 < share < 1:
            raise UsageError(
                f"must be a path or a share between 0 and 1, got {sources[split]}",
                where=f"{TASK}: {split}",
            )
    if sum(shares.values()) >= 1:
        raise UsageError(
            "nothing is left to train on: validation and test hold out"
            f" {sum(shares.values()):g} of the tokens",
            where=f"{TASK}: train",
        )
    return shares


def _parts(split: str, source: Any, defaults: Mapping[str, str]) -> dict[str, str]:
    """A source as path, array and dtype."""
    parts = source if isinstance(source, Mapping) else {"path": source}
    known = {"path", *defaults}
    is_path = isinstance(parts.get("path"), str)
    if not is_path or not set(parts) <= known:
        raise UsageError(
            f"must be a path, or path, array and dtype; got {source!r}",
            where=f"{TASK}: {split}",
        )
    found = {**defaults, **parts}
    if found["dtype"] not in RAW_DTYPES:
        raise UsageError(
            f"must be {' or '.join(RAW_DTYPES)}, got {found['dtype']!r}",
            where=f"{TASK}: dtype",
        )
    return found
