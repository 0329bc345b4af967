"""CIFAR-10 as JPEG files in two ``.npz`` archives.

Each has the arrays ``header``, ``body``, ``offsets`` and ``labels``; image i is the
JPEG file ``header + body[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

import io
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wpack.errors import UsageError

#: Training images held out for validation: the last ones, 500 of each class.
VALIDATION = 5000


def data_folder(folder: str | None) -> Path:
    """The folder of all benchmark data: ``folder``, or the variable ``WPACK_DATA``.

    Raises:
        UsageError: Neither is given.
    """
    named = folder or os.environ.get("WPACK_DATA")
    if not named:
        raise UsageError(
            "no folder of benchmark data is named",
            hint="Set WPACK_DATA to the folder that has cifar10/cifar10_jpeg_test.npz",
        )
    return Path(named)


def load(split: str, folder: str | None = None) -> tuple[Tensor, Tensor]:
    """Images ``(n, 32, 32, 3)`` uint8 and labels ``(n,)`` int64.

    Args:
        split: ``"train"`` (45,000), ``"validation"`` (5,000) or ``"test"`` (10,000).
    """
    archive = "test" if split == "test" else "train"
    path = data_folder(folder) / "cifar10" / f"cifar10_jpeg_{archive}.npz"
    images, labels = _decoded(path)
    if split == "train":
        return images[:-VALIDATION], labels[:-VALIDATION]
    if split == "validation":
        return images[-VALIDATION:], labels[-VALIDATION:]
    return images, labels


@cache
def _decoded(path: Path) -> tuple[Tensor, Tensor]:
    """All images of an archive; 50,000 take four seconds and 150 MB."""
    with np.load(path, allow_pickle=False) as arrays:
        header, body = arrays["header"].tobytes(), arrays["body"].tobytes()
        offsets, labels = arrays["offsets"].tolist(), arrays["labels"]
    pixels = np.empty((len(labels), 32, 32, 3), dtype=np.uint8)
    for image, begin, end in zip(pixels, offsets, offsets[1:], strict=False):
        image[:] = Image.open(io.BytesIO(header + body[begin:end]))
    return torch.from_numpy(pixels), torch.from_numpy(labels.astype(np.int64))
