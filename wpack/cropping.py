"""Random parts of images, scaled to one size: what networks for large images train on.

Szegedy et al., "Going Deeper with Convolutions"; the draws are distributed as those of
torchvision's ``RandomResizedCrop``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

#: How often a part is drawn anew that does not fit into its image.
TRIES = 10

#: Left, top, right and bottom in pixels, as Pillow has them.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ResizedCrop:
    """A rectangle anywhere in the image, scaled to the wanted size.

    Attributes:
        scale: Its smallest and largest share of the image's area.
        ratio: Its smallest and largest width / height.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def draws(self, count: int, generator: torch.Generator) -> np.ndarray:
        """The random numbers of ``count`` rectangles, ``(count, TRIES, 4)`` from 0 to
        1: all are drawn before an image's size is known, so that the order in which
        images are decoded does not matter."""
        shape = (count, TRIES, 4)
        drawn = torch.rand(shape, dtype=torch.float64, generator=generator)
        found: np.ndarray = drawn.numpy()
        return found

    def box(self, draws: np.ndarray, height: int, width: int) -> Box:
        """The rectangle in an image: the first of those drawn that fits, or the middle.

        Args:
            draws: One image's, ``(TRIES, 4)``.
        """
        size, shape, down, right = draws.T
        areas = height * width * _between(*self.scale, size)
        least, most = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratios = np.exp(_between(least, most, shape))
        wides, talls = np.rint(np.sqrt([areas * ratios, areas / ratios])).astype(int)
        fits = (wides > 0) & (wides <= width) & (talls > 0) & (talls <= height)
        if not fits.any():
            return self._middle(height, width)
        first = int(fits.argmax())
        wide, tall = int(wides[first]), int(talls[first])
        left = int(right[first] * (width - wide + 1))
        top = int(down[first] * (height - tall + 1))
        return left, top, left + wide, top + tall

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The same for images in memory, scaled back to the size that they have.

        Args:
            images: ``(batch, height, width, channels)``, uint8 or float32.
        """
        _, height, width, _ = images.shape
        planes = images.permute(0, 3, 1, 2)
        out = torch.empty_like(planes)
        for i, draws in enumerate(self.draws(len(images), generator)):
            left, top, right, bottom = (int(n) for n in self.box(draws, height, width))
            out[i] = functional.interpolate(
                planes[i : i + 1, :, top:bottom, left:right],
                size=(height, width),
                mode="bilinear",
                antialias=True,
            )[0]
        return out.permute(0, 2, 3, 1)

    def _middle(self, height: int, width: int) -> Box:
        """The largest rectangle in the middle whose ratio is allowed."""
        least, most = self.ratio
        return middle(height, width, min(max(width / height, least), most))


def middle(height: int, width: int, ratio: float, share: float = 1.0) -> Box:
    """The middle of an image.

    Args:
        ratio: Width / height of what is taken.
        share: Of the longest sides that fit.
    """
    wide = share * min(width, height * ratio)
    tall = wide / ratio
    left, top = (width - wide) / 2, (height - tall) / 2
    return left, top, left + wide, top + tall


def _between(low: float, high: float, share: np.ndarray) -> np.ndarray:
    return low + share * (high - low)
