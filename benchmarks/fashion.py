"""Fashion-MNIST for a small residual network: the task of ``benchmarks/figure4.py``.

The data are Zalando's four files, as they come.  To two cores' reach the images are
halved to 14×14 pixels and only some of them are trained on.
"""

from __future__ import annotations

import gzip
import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cifar10.resnet import BasicBlock
from wpack.errors import UsageError
from wpack.images import Preprocess
from wpack.tasks import Task, TensorData

#: Training images held out to choose by: the last ones.
VALIDATION = 5000
#: Of all training pixels.
MEAN, STD = (0.286,), (0.32,)


class Small(nn.Module):
    """Images ``(batch, 1, 14, 14)`` to logits ``(batch, 10)``; 73,728 weights in the
    blocks' kernels, 1,274 others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = BasicBlock(16, 16, 1)  # 14×14
        self.layer2 = BasicBlock(16, 32, 2)  # 7×7
        self.layer3 = BasicBlock(32, 64, 2)  # 4×4
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(maps.mean(dim=(2, 3)))


class Fashion(Task):
    """Ten classes of clothes.

    Args:
        folder: Of the data, which has ``fashion/train-images-idx3-ubyte.gz``; None for
            the environment's ``WPACK_DATA``.
        examples: Training images used, the first ones.
    """

    def __init__(self, folder: str | None = None, examples: int = 20_000) -> None:
        self.folder = folder
        self.examples = examples

    def model(self) -> nn.Module:
        return Small()

    def data(self, split: str) -> TensorData:
        images, labels = load(split, self.folder)
        used = self.examples if split == "train" else len(labels)
        return TensorData(images[:used], labels[:used], transform=Preprocess(MEAN, STD))


def load(
    split: str, folder: str | None = None, halved: bool = True
) -> tuple[Tensor, Tensor]:
    """Images ``(n, 14, 14, 1)`` uint8 and labels ``(n,)`` int64.

    Args:
        split: ``"train"`` (55,000), ``"validation"`` (5,000) or ``"test"`` (10,000).
        halved: Whether 14×14 pixels, and not the original 28×28.

    Raises:
        UsageError: No folder is named.
    """
    named = folder or os.environ.get("WPACK_DATA")
    if not named:
        raise UsageError(
            "no folder of benchmark data is named",
            hint="Set WPACK_DATA to the folder that has fashion/",
        )
    archive = "t10k" if split == "test" else "train"
    images, labels = _read(Path(named) / "fashion", archive, halved)
    if split == "train":
        return images[:-VALIDATION], labels[:-VALIDATION]
    if split == "validation":
        return images[-VALIDATION:], labels[-VALIDATION:]
    return images, labels


@cache
def _read(folder: Path, archive: str, halved: bool) -> tuple[Tensor, Tensor]:
    pixels = _array(folder / f"{archive}-images-idx3-ubyte.gz")
    labels = _array(folder / f"{archive}-labels-idx1-ubyte.gz")
    if halved:
        pixels = pixels.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).round()
    images = torch.from_numpy(pixels.astype(np.uint8)).unsqueeze(-1)
    return images, torch.from_numpy(labels.astype(np.int64))


def _array(path: Path) -> np.ndarray:
    """An IDX file: two zeros, the code of uint8, the rank, the sizes, the bytes."""
    data = gzip.decompress(path.read_bytes())
    rank = data[3]
    shape = np.frombuffer(data, ">i4", rank, offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


task = Fashion()
