"""The task ``language-modeling``: each token after those before it.

.. code-block:: yaml

    task:
      name: language-modeling
      model: ./gpt.py:GPT                # or a local folder with a config.json
      model_options: {vocabulary: 65}
      train: data/shakespeare.txt        # or tokens: .npy, .npz, .bin
      validation: 0.1                    # a share from the end, or a path
      tokenizer: characters              # or bytes, or a tokenizer.json
      length: 128                        # tokens that the model sees at once

A plain model maps tokens ``(batch, length)`` int64 to logits ``(batch, length,
vocabulary)``, or to an object that has them as ``logits``.  A folder is what
transformers' ``save_pretrained`` writes: its causal model is made from ``config.json``,
text is read with its tokenizer, and nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from .. import references
from ..corpus import TASK as NAME
from ..corpus import Corpus
from ..errors import UsageError
from ..transformers_folder import TransformersFolder
from ..windows import IGNORED, RandomWindows, StridedWindows, Texts
from . import Task

#: Losses above this, in nats, have a perplexity that no float holds.
_LARGEST = 700.0

#: A path, or its parts; for what is held out also a share of the training data.
Source = str | Mapping[str, str]


class LanguageModeling(Task):
    """Next-token prediction over streams of tokens, or over texts of one length.

    A metric is a mean over all tokens that are predicted: each token of a split but its
    first, exactly once.

    Args:
        model: ``module:attribute`` or ``./file.py:attribute`` of a function or class
            that makes the network, or a transformers model's local folder.
        train: A text (UTF-8), or tokens: ``.npy`` or ``.npz`` with integers
            ``(tokens,)`` or ``(texts, tokens)``, ``.bin`` with raw numbers.  Or
            ``{path, array, dtype}``.  Rows of ``(texts, tokens)`` are examples as they
            are.
        validation: Likewise, or the share of the training data to hold out, or None.
            What is held out is in one piece: the end of the data, or what comes before
            the share that ``test`` holds out there.
        test: Likewise.
        model_options: Keyword arguments for ``model``.
        tokenizer: For text: ``characters`` (those of the training text, by code point),
            ``bytes``, or the path of a ``tokenizer.json``.  None: the folder's own.
        length: Tokens that the model sees at once.
        stride: Tokens from one window of an evaluation to the next, 1 to ``length``;
            None: ``length``.  Each token is predicted once whatever it is, but with a
            smaller one after more others.
        padding: A token that is never predicted.
        array: Name of an ``.npz``'s array.
        dtype: Of a ``.bin``'s numbers, ``uint16`` or ``uint32``, little-endian.
        folder: Where relative paths start.

    Raises:
        UsageError: The options do not fit together.
    """

    unit = "tokens"
    metric = "loss"
    lower_is_better = (
        "loss",
        "perplexity",
        *(f"bits_per_{unit}" for unit in ("character", "byte", "token")),
    )

    def __init__(
        self,
        model: str,
        train: Source,
        validation: Source | float | None = None,
        test: Source | float | None = None,
        *,
        model_options: Mapping[str, Any] | None = None,
        tokenizer: str | None = None,
        length: int | None = None,
        stride: int | None = None,
        padding: int | None = None,
        array: str = "tokens",
        dtype: str = "uint16",
        folder: Path | str = ".",
    ) -> None:
        self._folder = Path(folder)
        self._model = model
        self._model_options = dict(model_options or {})
        self._pretrained = self._transformers()
        self._length, self._stride = self._lengths(length, stride)
        self._padding = padding
        vocabulary = self._pretrained.vocabulary if self._pretrained else None
        self._known = {"padding": padding, "vocabulary": vocabulary}
        self._corpus = Corpus(
            {"train": train, "validation": validation, "test": test},
            self._folder,
            tokenizer,
            self._pretrained.encoder if self._pretrained else None,
            array=array,
            dtype=dtype,
        )

    def model(self) -> nn.Module:
        """A new network: transformers', or made by the user's function."""
        made: nn.Module
        if self._pretrained is not None:
            made = self._pretrained.model()
        else:
            found = references.resolve(self._model, self._folder)
            made = references.call(self._model, found, self._model_options, nn.Module)
        config: Any = getattr(made, "config", None)
        if getattr(config, "use_cache", False):
            config.use_cache = False  # Keys and values are of use to generation only.
        return made

    def data(self, split: str) -> Texts | RandomWindows | StridedWindows | None:
        """The tokens of a split, read when first asked for."""
        tokens = self._corpus.tokens(split)
        if tokens is None:
            return None
        name = str(self._corpus.path(split))
        if tokens.ndim == 2:
            width = tokens.shape[1] - 1
            if self._length and width > self._length:
                raise UsageError(
                    f"length is {self._length}, the texts in {name} have {width} tokens"
                    " to predict",
                    where=f"{NAME}: {split}",
                    hint="Cut them, or store them as one stream, (tokens,)",
                )
            return Texts(tokens, name, **self._known)
        if not self._length or not self._stride:
            raise UsageError(
                f"{name} is one stream of tokens, and length is not given",
                where=f"{NAME}: {split}",
                hint="Set length to the tokens that the model sees at once",
            )
        if split == "train":
            return RandomWindows(tokens, name, self._length, **self._known)
        return StridedWindows(tokens, name, self._length, self._stride, **self._known)

    def targets(self, batch: Any) -> Tensor:
        """The token that follows each, ``(rows,)`` int64, or
        :data:`~wpack.windows.IGNORED`: one row for each token of each example."""
        targets: Tensor = batch[1]
        return targets.flatten()

    def logits(self, outputs: Any, batch: Any) -> Tensor:
        """``(rows, vocabulary)``; zeros where padding follows, which distillation then
        leaves alone."""
        logits: Tensor = getattr(outputs, "logits", outputs).flatten(0, 1)
        if self._padding is None:
            return logits
        return logits.masked_fill((self.targets(batch) == IGNORED).unsqueeze(1), 0.0)

    def count(self, batch: Any) -> int:
        """Tokens that are asked about, padding among them."""
        return self.targets(batch).numel()

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean cross-entropy over all tokens that are predicted, 0-d, in nats."""
        targets = self.targets(batch)
        total = functional.cross_entropy(
            self.logits(outputs, batch).float(),
            targets,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=label_smoothing,
        )
        return total / (targets != IGNORED).sum().clamp(min=1)

    def metrics(self, outputs: Any, batch: Any) -> dict[str, Tensor]:
        """``loss`` in nats and ``accuracy`` of the first guess, one value for each
        token that is predicted."""
        logits, targets = self.logits(outputs, batch).float(), self.targets(batch)
        predicted = targets != IGNORED
        losses = functional.cross_entropy(
            logits, targets, ignore_index=IGNORED, reduction="none"
        )
        return {
            "loss": losses[predicted],
            "accuracy": (logits.argmax(-1) == targets)[predicted],
        }

    def derived(self, means: Mapping[str, float]) -> dict[str, float]:
        """``perplexity``, and the loss in bits for each character, byte or token."""
        loss = means["loss"]
        perplexity = math.exp(loss) if loss < _LARGEST else math.inf
        return {
            "perplexity": perplexity,
            f"bits_per_{self._corpus.unit}": loss / math.log(2),
        }

    def _transformers(self) -> TransformersFolder | None:
        """The folder that ``model`` names, if it does."""
        path = self._folder / self._model
        if not path.is_dir():
            if ":" in self._model:
                return None
            raise UsageError(
                f"{self._model!r} is no module:attribute, no ./file.py:attribute and no"
                " folder",
                where=f"{NAME}: model",
            )
        if self._model_options:
            raise UsageError(
                f"{path} is a folder, whose config.json has the model's options",
                where=f"{NAME}: model_options",
            )
        return TransformersFolder(path)

    def _lengths(
        self, length: int | None, stride: int | None
    ) -> tuple[int | None, int | None]:
        """``length`` and ``stride``, once they are sound."""
        _check("length", length, self._pretrained.length if self._pretrained else None)
        _check("stride", stride, length)
        return length, stride or length


def _check(name: str, value: int | None, largest: int | None) -> None:
    if value is None:
        return
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if not is_whole or value < 1 or (largest and value > largest):
        limit = f"from 1 to {largest}" if largest else "of at least 1"
        raise UsageError(
            f"must be a whole number {limit}, got {value!r}", where=f"{NAME}: {name}"
        )


#: What ``language-modeling`` names in a spec.
task = LanguageModeling
