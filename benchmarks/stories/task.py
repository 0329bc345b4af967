"""The likelihood that a language model gives to stories, for ``wpack eval`` and
``wpack finetune``.  Run from the repository's folder:

    export WPACK_DATA=…      # has text/stories260K_selfgen_tokens.npz
    wpack eval stories.wpool --task benchmarks.stories.task:stories

The stories are 64 times 128 tokens that stories260K itself wrote: they tell how far a
network has strayed from it, not how well it would do on other people's stories.
stories260K: 1.1984 nats a token, a perplexity of 3.31.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cifar10.data import data_folder
from benchmarks.stories.model import Llama
from wpack.tasks import Task, TensorData

TOKENS = "text/stories260K_selfgen_tokens.npz"


class Stories(Task):
    """Each token after those before it.  There are only texts to evaluate on; training
    on what a model wrote needs far more of them.

    Args:
        folder: The data's folder; None for the environment's ``WPACK_DATA``.
    """

    metric = "loss"

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def model(self) -> nn.Module:
        return Llama()

    def data(self, split: str) -> TensorData | None:
        if split != "test":
            return None
        path = data_folder(self.folder) / TOKENS
        with np.load(path, allow_pickle=False) as arrays:
            return TensorData(torch.from_numpy(arrays["tokens"].astype(np.int64)))

    def inputs(self, batch: tuple[Tensor]) -> Tensor:
        """All tokens but the last, ``(texts, length - 1)``."""
        return batch[0][:, :-1]

    def targets(self, batch: tuple[Tensor]) -> Tensor:
        """The token that follows each, ``(texts · (length - 1),)``."""
        return batch[0][:, 1:].flatten()

    def logits(self, outputs: Tensor, batch: tuple[Tensor]) -> Tensor:
        """A row for each target."""
        return outputs.flatten(0, 1)


stories = Stories()
