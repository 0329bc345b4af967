"""What training images go through so that no two epochs show the same ones.

Moving, mirroring and cutting are done here, a batch at a time.  Colours and erasing are
torchvision's, an image at a time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import sampling
from .architectures import installed
from .errors import UsageError
from .spec.augment import AugmentSpec

_POLICIES = {
    "autoaugment": "AutoAugment",
    "randaugment": "RandAugment",
    "trivialaugment": "TrivialAugmentWide",
    "augmix": "AugMix",
}
#: Gives another image of the same shape, ``(channels, height, width)``; draws from
#: torch's global generator.
Change = Callable[[Tensor], Tensor]


def colour_changes(spec: AugmentSpec) -> list[Change]:
    """What a spec asks for of colours, for uint8 images.

    Raises:
        UsageError: It takes torchvision, which is not installed or refuses an option.
    """
    jitter, policy, found = spec.color_jitter, spec.policy, []
    if jitter:
        found.append(_change("color_jitter", "ColorJitter", jitter.model_dump()))
    if policy:
        found.append(_change("policy", _POLICIES[policy.name], policy.options))
    return found


def erasing_changes(spec: AugmentSpec) -> list[Change]:
    """What a spec asks for of erasing, for images that are normalised.

    Raises:
        UsageError: As above.
    """
    options = {"p": spec.erase}
    return [_change("erase", "RandomErasing", options)] if spec.erase else []


def _change(key: str, name: str, options: Mapping[str, Any]) -> Change:
    """One of torchvision's transforms."""
    where = f"augment: {key}"
    installed("torchvision", where)
    transforms = importlib.import_module("torchvision.transforms.v2")
    try:
        found: Change = getattr(transforms, name)(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{error}", where=where) from None
    return found


def changed(
    images: Tensor, changes: Sequence[Change], generator: torch.Generator
) -> Tensor:
    """Each image of a batch changed by itself.

    Args:
        images: ``(batch, channels, height, width)``.
    """
    seed = int(torch.randint(1 << 62, (), generator=generator))
    out = torch.empty_like(images)
    with sampling.seeded(torch.device("cpu"), seed):
        for i, image in enumerate(images):
            for change in changes:
                image = change(image)
            out[i] = image
    return out


def moved(images: Tensor, crop: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Move and mirror each image of a batch at random, all in one gather.

    Args:
        images: ``(batch, height, width, channels)``.
        crop: Largest move in pixels.
        flip: Whether to mirror, with probability ½.
    """
    count, height, width, channels = images.shape
    top, left = torch.randint(0, 2 * crop + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < (0.5 if flip else 0.0)
    rows = top + torch.arange(height)
    columns = torch.arange(width).expand(count, width)
    columns = left + torch.where(mirrored, width - 1 - columns, columns)
    padded = functional.pad(images, (0, 0, crop, crop, crop, crop))
    _, tall, wide, _ = padded.shape
    first = torch.arange(count).view(-1, 1, 1) * (tall * wide)
    pixels = first + rows.unsqueeze(2) * wide + columns.unsqueeze(1)
    taken = padded.view(-1, channels).index_select(0, pixels.view(-1))
    return taken.view(count, height, width, channels)
