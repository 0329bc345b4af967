"""MobileNetV1 at a quarter of its width, with the tensor names of MLPerf Tiny's person
detector.

The network of https://github.com/mlcommons/tiny, ``visual_wake_words``: 96×96 images in
0 … 1, thirteen depthwise-separable blocks, two classes (without and with a person).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

#: Channels that each block makes, and the stride of its depthwise convolution.
BLOCKS = (
    (16, 1),
    (32, 2),
    (32, 1),
    (64, 2),
    (64, 1),
    (128, 2),
    *[(128, 1)] * 5,
    (256, 2),
    (256, 1),
)
STEM = 8
CLASSES = 2
#: Keras' default, which torch's is a hundredth of.
EPSILON = 1e-3


class MobileNet(nn.Module):
    """Images ``(batch, 3, 96, 96)`` to logits ``(batch, 2)``.

    Layers are numbered as Keras does: each kind by itself, the first without a number.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(3, STEM, 3, stride=2)
        self.batch_normalization = nn.BatchNorm2d(STEM, EPSILON)
        inputs = STEM
        for at, (outputs, stride) in enumerate(BLOCKS):
            depthwise = nn.Conv2d(inputs, inputs, 3, stride, groups=inputs)
            self.add_module(_numbered("depthwise_conv2d", at), depthwise)
            self._normalise(2 * at + 1, inputs)
            self.add_module(_numbered("conv2d", at + 1), nn.Conv2d(inputs, outputs, 1))
            self._normalise(2 * at + 2, outputs)
            inputs = outputs
        self.dense = nn.Linear(inputs, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        maps = self._layer("conv2d", 0, 0, images)
        for at in range(len(BLOCKS)):
            maps = self._layer("depthwise_conv2d", at, 2 * at + 1, maps)
            maps = self._layer("conv2d", at + 1, 2 * at + 2, maps)
        return self.dense(maps.mean(dim=(2, 3)))

    def _normalise(self, number: int, channels: int) -> None:
        name = _numbered("batch_normalization", number)
        self.add_module(name, nn.BatchNorm2d(channels, EPSILON))

    def _layer(self, kind: str, number: int, norm: int, maps: Tensor) -> Tensor:
        """A convolution, its normalisation and the rectifier."""
        convolution = getattr(self, _numbered(kind, number))
        normalisation = getattr(self, _numbered("batch_normalization", norm))
        maps = convolution(_padded(maps, convolution))
        return F.relu(normalisation(maps))


def _numbered(kind: str, number: int) -> str:
    return f"{kind}_{number}" if number else kind


def _padded(maps: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Zeros around maps, as TensorFlow's "same" has them.

    With stride 2 and an even size only below and to the right.
    """
    (kernel, _), (stride, _) = convolution.kernel_size, convolution.stride
    total = max(kernel - stride, 0) if maps.shape[-1] % stride == 0 else kernel - 1
    before = total // 2
    return F.pad(maps, (before, total - before) * 2) if total else maps
