"""Fashion-MNIST for a small DeiT: the task of ``compare.py``."""

from __future__ import annotations

from torch import nn

from benchmarks import fashion
from benchmarks.vit.model import VisionTransformer
from wpack.images import Preprocess
from wpack.tasks import Task, TensorData


class FashionViT(Task):
    """Ten classes of clothes, 28×28 pixels; half of the training images are mirrored.

    The data are those of the environment's ``WPACK_DATA``.
    """

    def model(self) -> nn.Module:
        return VisionTransformer()

    def data(self, split: str) -> TensorData:
        images, labels = fashion.load(split, halved=False)
        flip = split == "train"
        transform = Preprocess(fashion.MEAN, fashion.STD, flip=flip)
        return TensorData(images, labels, transform=transform)


task = FashionViT()
