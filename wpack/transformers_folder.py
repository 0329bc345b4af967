"""Causal language models in local folders, as transformers' ``save_pretrained`` leaves
them: their ``config.json`` and their tokenizer.

Nothing is downloaded, and code that a folder brings along is never run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .errors import UsageError

_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def library(name: str) -> Any:
    """Import a library of the extra ``hf``.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"{name} is needed and cannot be imported: {error}",
            where="language-modeling",
            hint="pip install 'wpack[hf]'",
        ) from None


class TransformersFolder:
    """A model's folder.

    Raises:
        UsageError: It has no ``config.json``.
    """

    def __init__(self, path: Path) -> None:
        if not (path / "config.json").is_file():
            raise UsageError(
                "there is no config.json in it",
                where=path,
                hint="save_pretrained writes one beside the model's weights",
            )
        self.path = path

    @cached_property
    def config(self) -> Any:
        """The model's configuration."""
        with self._blaming("read the configuration"):
            found = library("transformers").AutoConfig.from_pretrained(
                str(self.path), **_LOCAL
            )
        return found.get_text_config()

    @property
    def vocabulary(self) -> int | None:
        """How many tokens the model knows, if it says so."""
        return getattr(self.config, "vocab_size", None)

    @property
    def length(self) -> int | None:
        """Tokens that the model can see at once, if it says so."""
        return getattr(self.config, "max_position_embeddings", None)

    def model(self) -> nn.Module:
        """A new model in float32; its values do not matter."""
        with self._blaming("make a causal model of it"):
            auto = library("transformers").AutoModelForCausalLM
            made: nn.Module = auto.from_config(
                self.config, dtype=torch.float32, trust_remote_code=False
            )
        return made

    def encoder(self) -> Callable[[str], Sequence[int]]:
        """What turns a text into tokens, no special ones added."""
        with self._blaming("read the tokenizer"):
            tokenizer = library("transformers").AutoTokenizer.from_pretrained(
                str(self.path), **_LOCAL
            )

        def encode(text: str) -> Sequence[int]:
            # Not verbose: it would warn that the text is longer than the model's.
            found = tokenizer(text, add_special_tokens=False, verbose=False)
            ids: Sequence[int] = found["input_ids"]
            return ids

        return encode

    @contextmanager
    def _blaming(self, doing: str) -> Iterator[None]:
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UsageError(
                f"transformers cannot {doing}: {said}",
                where=self.path,
                hint="--debug shows the traceback",
            ) from error
