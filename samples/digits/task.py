"""What ``wpack finetune`` and ``wpack eval`` have to know about the digits: the
networks and the data.  ``samples.digits.task:vit`` and ``samples.digits.task:resnet``
name the two tasks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from samples.digits.data import digits, shifted
from samples.digits.models import ResNet, VisionTransformer
from wpack.tasks import Task, TensorData


class Digits(Task):
    """Ten classes; ``network`` makes the model."""

    def __init__(self, network: type[nn.Module]) -> None:
        self.network = network

    def model(self) -> nn.Module:
        return self.network()

    def data(self, split: str) -> TensorData:
        images, labels = digits(split)
        return TensorData(
            images, labels, transform=augment if split == "train" else None
        )


def augment(
    batch: tuple[Tensor, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The images moved by a pixel, the labels as they are."""
    images, labels = batch
    return shifted(images, generator), labels


vit = Digits(VisionTransformer)
resnet = Digits(ResNet)
