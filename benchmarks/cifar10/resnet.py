"""The CIFAR ResNets of He et al., with the tensor names of akamaster's checkpoints.

ResNet-20 and ResNet-56 of https://github.com/akamaster/pytorch_resnet_cifar10: three
stages of 3×3 convolutions, shortcuts without parameters (option A).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)


class BasicBlock(nn.Module):
    """Two convolutions; the shortcut drops every other pixel and adds zero channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.missing = (outputs - inputs) // 2  # zero channels on either side

    def forward(self, maps: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(maps)))
        if self.stride > 1:
            maps = maps[:, :, :: self.stride, :: self.stride]
            maps = F.pad(maps, (0, 0, 0, 0, self.missing, self.missing))
        return F.relu(self.bn2(self.conv2(inner)) + maps)


class ResNet(nn.Module):
    """Images ``(batch, 3, 32, 32)`` to logits ``(batch, 10)``.

    Args:
        depth: 6n + 2 layers: 20, 32, 44, 56, 110.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, first, stride=1, blocks=blocks)  # 32×32
        self.layer2 = _stage(first, second, stride=2, blocks=blocks)  # 16×16
        self.layer3 = _stage(second, third, stride=2, blocks=blocks)  # 8×8
        self.linear = nn.Linear(third, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.bn1(self.conv1(images)))
        maps = self.layer3(self.layer2(self.layer1(maps)))
        return self.linear(maps.mean(dim=(2, 3)))


def _stage(inputs: int, outputs: int, *, stride: int, blocks: int) -> nn.Sequential:
    """Blocks of one width; the first changes the shape."""
    rest = (BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)
