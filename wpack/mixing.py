"""Training images blended in pairs, each with both labels.

mixup: Zhang et al., "mixup: Beyond Empirical Risk Minimization"; CutMix: Yun et al.,
"CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

#: Images, their labels, their partners' labels, and the share of their own: each has a
#: row for each example, so that some rows of a batch are a batch.
Mixed = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Mixing:
    """Blends each image of a batch with the one before it.

    Where both kinds are on, each batch is of one of them, with probability ½.

    Attributes:
        mixup: α of the beta distribution that an image's share of each pixel is drawn
            from; 0: never.
        cutmix: α of the same for its share of the pixels, the others being a rectangle
            of its partner; 0: never.
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __call__(
        self, images: Tensor, labels: Tensor, generator: torch.Generator
    ) -> Mixed:
        """
        Args:
            images: ``(batch, channels, height, width)``, float.
            labels: ``(batch,)`` int64.
        """
        count = len(labels)
        kinds = [alpha for alpha in (self.mixup, self.cutmix) if alpha]
        pick = int(torch.randint(len(kinds), (), generator=generator))
        seed = int(torch.randint(1 << 62, (), generator=generator))
        # torch draws from a beta distribution with its global generator only.
        drawn = np.random.default_rng(seed).beta(kinds[pick], kinds[pick], count)
        share = torch.from_numpy(drawn).float()
        partners = images.roll(1, 0)
        if self.cutmix and pick == len(kinds) - 1:
            images, share = cut(images, partners, share, generator)
        else:
            images = torch.lerp(partners, images, share.view(-1, 1, 1, 1))
        return images, labels, labels.roll(1), share


def cut(
    images: Tensor, partners: Tensor, share: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Images with a rectangle of their partners in each.

    The rectangle has the image's ratio and its middle anywhere in it; what lies
    outside is lost.

    Args:
        share: Wanted share of each image's own pixels, ``(batch,)``.

    Returns:
        The images, and the shares as they came to be.
    """
    count, _, height, width = images.shape
    sides = torch.tensor([height, width])
    half = (1 - share).sqrt().view(-1, 1) * sides / 2
    centre = torch.rand(count, 2, generator=generator) * sides
    first = (centre - half).round().clamp(min=0).view(count, 2, 1, 1)
    last = torch.minimum((centre + half).round(), sides).view(count, 2, 1, 1)
    rows, columns = torch.arange(height).view(-1, 1), torch.arange(width)
    inside = (rows >= first[:, 0]) & (rows < last[:, 0])
    inside = inside & (columns >= first[:, 1]) & (columns < last[:, 1])
    own = 1 - inside.float().mean(dim=(1, 2))
    return torch.where(inside.unsqueeze(1), partners, images), own


def cross_entropy(
    logits: Tensor, targets: Sequence[Tensor], label_smoothing: float = 0.0
) -> Tensor:
    """The mean cross-entropy, 0-d, of a batch that is mixed or is not.

    Args:
        logits: ``(batch, classes)``.
        targets: What a batch has after its images: labels, or all of
            :data:`Mixed` but the images.
    """
    if len(targets) == 1:
        return functional.cross_entropy(
            logits, targets[0], label_smoothing=label_smoothing
        )
    labels, others, share = targets
    own, other = (
        functional.cross_entropy(
            logits, each, reduction="none", label_smoothing=label_smoothing
        )
        for each in (labels, others)
    )
    return torch.lerp(other, own, share.to(own.dtype)).mean()
