r"""CIFAR-10 classification with akamaster's ResNets, for ``wpack finetune`` and
``wpack eval``.  Run from the repository's folder:

    export WPACK_DATA=…      # has cifar10/cifar10_jpeg_train.npz and …_test.npz
    wpack finetune resnet20.th -s benchmarks/cifar10/r20-2.57.yaml -o r20.wpool

The published checkpoints, on the JPEG test set and without training on it, score
81.03 % (ResNet-20) and 83.20 % (ResNet-56): JPEG shifts the data.  So the fair
reference, and the better teacher, is the untied network after the same epoch:

    wpack finetune resnet20.th -s benchmarks/cifar10/r20-2.57.yaml -o untied.wpool \
        --set pools.blocks.ratio=1 --set finetune.distill=null

A ``--set finetune.distill.teacher=…`` then names it; a relative path starts at the
spec's folder.
"""

from __future__ import annotations

from torch import nn

from benchmarks.cifar10.data import load
from benchmarks.cifar10.resnet import ResNet
from wpack.images import Preprocess
from wpack.tasks import Task, TensorData

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Cifar10(Task):
    """Ten classes of 32×32 images; training crops and mirrors them.

    Args:
        depth: Of the ResNet, 20 or 56.
        folder: The data's folder; None for the environment's ``WPACK_DATA``.
        examples: Use the first of each split only; they are balanced.
    """

    unit = "images"

    def __init__(
        self, depth: int = 20, folder: str | None = None, examples: int | None = None
    ) -> None:
        self.depth = depth
        self.folder = folder
        self.examples = examples

    def model(self) -> nn.Module:
        return ResNet(self.depth)

    def data(self, split: str) -> TensorData:
        crop, flip = (4, True) if split == "train" else (0, False)
        images, labels = load(split, self.folder)
        return TensorData(
            images[: self.examples],
            labels[: self.examples],
            transform=Preprocess(MEAN, STD, crop, flip, channels_last=True),
        )


resnet20 = Cifar10(20)
#: For a look at many files: the first 1,000 images, of which the published checkpoint
#: names 80.4 %.
resnet20_quick = Cifar10(20, examples=1000)
resnet56 = Cifar10(56)
