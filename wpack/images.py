"""Labelled images: read from ``.npz`` files, and made ready for a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor

from .augmentation import Change, changed, moved
from .cropping import ResizedCrop
from .errors import TrainingError, UsageError
from .mixing import Mixing


def load_arrays(path: Path, images: str, labels: str) -> tuple[Tensor, Tensor]:
    """Read images and labels from the arrays of an ``.npz`` file.

    Args:
        images: Name of the images' array: ``(n, height, width)`` or
            ``(n, height, width, channels)``, uint8 or float.
        labels: Name of the labels' array: ``(n,)``, integers from 0.

    Returns:
        ``(n, height, width, channels)`` uint8 or float32, and ``(n,)`` int64.

    Raises:
        TrainingError: The file or an array is not that.
    """
    try:
        # Opened here, since np.load leaves a file that it cannot read open.
        with open(path, "rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, NpzFile):
                raise ValueError("it is one array")
            for name in (images, labels):
                if name not in arrays.files:
                    raise TrainingError(
                        f"there is no array {name!r}",
                        where=path,
                        hint=f"There are: {', '.join(arrays.files)}",
                    )
            pixels, classes = arrays[images], arrays[labels]
    except OSError as error:
        raise TrainingError(
            f"cannot be read: {error.strerror or error}", where=path
        ) from None
    except (ValueError, EOFError, BadZipFile) as error:
        raise TrainingError(f"is no file of .npz arrays: {error}", where=path) from None
    return (
        _checked_images(pixels, path, images),
        _checked_labels(classes, len(pixels), path, labels),
    )


def _checked_images(pixels: np.ndarray, path: Path, name: str) -> Tensor:
    if pixels.ndim == 3:
        pixels = pixels[..., np.newaxis]
    is_float = np.issubdtype(pixels.dtype, np.floating)
    if pixels.ndim != 4 or not (is_float or pixels.dtype == np.uint8):
        raise TrainingError(
            f"array {name!r} must be (n, height, width[, channels]) of uint8 or float,"
            f" got {pixels.shape} of {pixels.dtype}",
            where=path,
        )
    kind = np.float32 if is_float else np.uint8
    return torch.from_numpy(np.ascontiguousarray(pixels, dtype=kind))


def _checked_labels(classes: np.ndarray, count: int, path: Path, name: str) -> Tensor:
    integers = np.issubdtype(classes.dtype, np.integer)
    if classes.shape != (count,) or not integers or (count and classes.min() < 0):
        raise TrainingError(
            f"array {name!r} must be ({count},) integers from 0, got {classes.shape} of"
            f" {classes.dtype}",
            where=path,
        )
    return torch.from_numpy(classes.astype(np.int64))


@dataclass(frozen=True)
class Preprocess:
    """Makes a batch of ``(images, labels)`` as loaded ready for a network.

    Attributes:
        mean: One number a channel, in the scale of 0 to 1 for uint8 images.
        std: Likewise; pixels become ``(pixel - mean) / std``.
        crop: Images are moved by up to this many pixels in each direction; what comes
            in is black (0).
        flip: Half of the images are mirrored, left to right.
        channels_last: Give the batch in torch's channels-last memory format, which
            convolutions are faster in, and which a model that calls ``view`` on its
            input refuses.
        resized_crop: First of all, a random part of each is scaled to its size.
        colours: Changes of uint8 images, one image at a time.
        erasing: Changes of normalised ones, likewise.
        mixing: Last of all, images are blended in pairs.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: int = 0
    flip: bool = False
    channels_last: bool = False
    resized_crop: ResizedCrop | None = None
    colours: Sequence[Change] = ()
    erasing: Sequence[Change] = ()
    mixing: Mixing | None = None

    def __call__(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> Any:
        """``(batch, channels, height, width)`` float32 and the labels, or with
        :attr:`mixing` what that gives.

        Raises:
            UsageError: Colours of images that are not uint8 are to be changed.
        """
        images, labels = batch
        if self.resized_crop:
            images = self.resized_crop(images, generator)
        if self.crop or self.flip:
            images = moved(images, self.crop, self.flip, generator)
        if self.colours:
            _check_colours(images)
            planes = changed(images.permute(0, 3, 1, 2), self.colours, generator)
            images = planes.permute(0, 2, 3, 1)
        images = self._normalised(images)
        if self.erasing:
            images = changed(images, self.erasing, generator)
        if self.mixing is None:
            return images, labels
        return self.mixing(images, labels, generator)

    def _normalised(self, images: Tensor) -> Tensor:
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        images = images.permute(0, 3, 1, 2)
        if not self.channels_last:
            images = images.contiguous()
        images = images.float()
        if self.std or unit != 1.0:
            images = images * (1.0 / (unit * self._column(self.std, 1.0)))
        if self.mean:
            images -= self._column(self.mean, 0.0) / self._column(self.std, 1.0)
        return images

    def _column(self, values: tuple[float, ...], default: float) -> Tensor:
        return torch.tensor(values or (default,)).view(-1, 1, 1)


def _check_colours(images: Tensor) -> None:
    if images.dtype != torch.uint8:
        kind = str(images.dtype).removeprefix("torch.")
        raise UsageError(
            f"colours are changed of uint8 images only, these are {kind}",
            where="augment",
            hint="Leave out color_jitter and policy, or store the images as uint8",
        )
