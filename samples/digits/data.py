"""scikit-learn's handwritten digits: 1,797 real images of 8 × 8 pixels.

They come with scikit-learn, so nothing is downloaded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

#: Where each split ends in the shuffled data: 1,100 + 297 + 400 images.
SPLITS = {"train": (0, 1100), "validation": (1100, 1397), "test": (1397, 1797)}


@cache
def digits(split: str) -> tuple[Tensor, Tensor]:
    """Images ``(n, 1, 8, 8)`` float32, about zero mean and unit variance, and labels
    ``(n,)`` int64 of one of :data:`SPLITS`."""
    pixels, labels = load_digits(return_X_y=True)  # 0 … 16
    # RandomState's stream is frozen by numpy's policy, so the split is the same for
    # ever; the stream of a Generator may change.
    order = np.random.RandomState(0).permutation(len(labels))[slice(*SPLITS[split])]
    images = torch.from_numpy((pixels[order] - 4.9) / 6.0).float()
    return images.view(-1, 1, 8, 8), torch.from_numpy(labels[order]).long()


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """About half of the images moved by -1, 0 or 1 pixels in both directions; the
    others as they are, for a pixel is much in an image of eight."""
    count, _, height, width = images.shape
    blank = float(images.min())  # paper is the smallest value there is
    padded = F.pad(images, (1, 1, 1, 1), value=blank)
    moves = torch.randint(-1, 2, (2, count, 1), generator=generator)
    moves *= torch.randint(0, 2, (count, 1), generator=generator)
    down, right = 1 + moves  # each (count, 1); 1 is the place before padding
    rows = (down + torch.arange(height)).unsqueeze(2)  # (count, height, 1)
    columns = (right + torch.arange(width)).unsqueeze(1)  # (count, 1, width)
    moved = padded[torch.arange(count).view(-1, 1, 1), 0, rows, columns]
    return moved.unsqueeze(1)
