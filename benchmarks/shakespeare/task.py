r"""Shakespeare's plays, a character at a time, for ``wpack finetune`` and ``wpack
eval``.  Run from the repository's folder:

    export WPACK_DATA=…      # has text/tinyshakespeare.txt, 1,115,394 characters
    wpack finetune --from-scratch -s benchmarks/shakespeare/base.yaml -o base.wpool
    wpack eval base.wpool --task benchmarks.shakespeare.task:shakespeare

The last twentieth of the text is the test split, the one before it validation.
"""

from __future__ import annotations

from benchmarks.cifar10.data import data_folder
from wpack.tasks import Task, make_task

#: Characters that the network sees at once.
LENGTH = 128


def shakespeare(folder: str | None = None) -> Task:
    """The task.

    Args:
        folder: The data's folder; None for the environment's ``WPACK_DATA``.
    """
    options = {
        "model": "benchmarks.shakespeare.model:GPT",
        "model_options": {"length": LENGTH},
        "train": "text/tinyshakespeare.txt",
        "validation": 0.05,
        "test": 0.05,
        "tokenizer": "characters",
        "length": LENGTH,
    }
    return make_task("language-modeling", options, data_folder(folder))
