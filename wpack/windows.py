"""Windows of token streams: the examples of a language model.

An example is ``length`` tokens and, for each of them, the token that follows it.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .errors import TrainingError

#: In place of a target: nothing is predicted there.
IGNORED = -100


class _Tokens:
    """What all kinds of examples have in common.

    Args:
        tokens: ``(tokens,)`` or ``(texts, tokens)``, of any integer dtype.
        name: Of their file, for messages.
        padding: A token that is never a target.
        vocabulary: How many tokens the model knows, if that is known.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        name: str,
        *,
        padding: int | None = None,
        vocabulary: int | None = None,
    ) -> None:
        self.tokens = tokens
        self.name = name
        self.padding = padding
        self.vocabulary = vocabulary

    def _pairs(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """``(batch, length + 1)`` tokens as tokens and targets, ``(batch, length)``
        int64 each."""
        wide = np.asarray(rows, np.int64)
        bad = wide[(wide < 0) | (wide >= (self.vocabulary or 1 << 62))]
        if bad.size:
            knows = f"0 to {self.vocabulary - 1}" if self.vocabulary else "0 and up"
            raise TrainingError(
                f"there is a token {bad[0]}, and the model knows {knows}",
                where=self.name,
                hint="Are these tokens of the model's own tokenizer?",
            )
        both = torch.from_numpy(wide)
        targets = both[:, 1:].clone()
        if self.padding is not None:
            targets[targets == self.padding] = IGNORED
        return both[:, :-1].contiguous(), targets


class Texts(_Tokens):
    """Each row of ``(texts, tokens)`` is an example, one token shorter than the row."""

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """See :meth:`wpack.data.Data.batch`."""
        return self._pairs(self.tokens[indices.numpy()])


class _Stream(_Tokens):
    """Windows of one stream of tokens, ``(tokens,)``.

    Args:
        length: Tokens that the model sees at once.

    Raises:
        TrainingError: There is not one window.
    """

    def __init__(
        self, tokens: np.ndarray, name: str, length: int, **known: int | None
    ) -> None:
        super().__init__(tokens, name, **known)
        self.length = length
        #: Where the last window starts; there is a token after its end.
        self.last = len(tokens) - 1 - length
        if self.last < 0:
            raise TrainingError(
                f"has {len(tokens)} tokens, a window and the token after it are"
                f" {length + 1}",
                where=name,
                hint="Set a smaller length",
            )

    def _windows(self, starts: np.ndarray) -> tuple[Tensor, Tensor]:
        return self._pairs(self.tokens[starts[:, None] + np.arange(self.length + 1)])


class RandomWindows(_Stream):
    """As many windows as fit side by side, each at a random place in its own share of
    the stream: an epoch sees about every token once, never cut twice alike.

    Window i of n starts at ``(i · s + r) // n`` of the s possible starts, with r drawn
    evenly from 0 … s − 1: over all windows each start is equally likely.
    """

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.length

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """See :meth:`wpack.data.Data.batch`; the places come from ``generator``."""
        places = self.last + 1
        drawn = torch.randint(0, places, indices.shape, generator=generator)
        return self._windows(((indices * places + drawn) // len(self)).numpy())


class StridedWindows(_Stream):
    """Windows ``stride`` apart, in which each token but the first is a target once.

    The first window predicts all its tokens, each other those that no window before it
    did: its last ``stride``, each with at least ``length - stride`` tokens before it.
    The last window is moved back until it ends with the stream.

    Args:
        stride: From 1 (slow, the longest contexts) to ``length`` (side by side).
    """

    def __init__(
        self,
        tokens: np.ndarray,
        name: str,
        length: int,
        stride: int,
        **known: int | None,
    ) -> None:
        super().__init__(tokens, name, length, **known)
        self.stride = stride

    def __len__(self) -> int:
        return 1 - (-self.last // self.stride)

    def batch(self, indices: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        """See :meth:`wpack.data.Data.batch`."""
        starts = (indices * self.stride).clamp(max=self.last)
        tokens, targets = self._windows(starts.numpy())
        # The first target that is new, counted from the window's own first.
        new = (indices - 1) * self.stride + self.length - starts
        new = torch.where(indices == 0, 0, new)
        targets[torch.arange(self.length) < new[:, None]] = IGNORED
        return tokens, targets
