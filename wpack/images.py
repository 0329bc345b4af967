"""Labelled images: read from ``.npz`` files and image folders, augmented in batches."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from torch import Tensor
from torch.nn import functional

from .errors import TrainingError

#: Files that count as images in an image folder.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


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


def class_names(folder: Path) -> list[str]:
    """The classes of an image folder: its sub-folders, sorted.

    Raises:
        TrainingError: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise TrainingError("there is no such folder", where=folder)
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not found:
        raise TrainingError("has no folders, one for each class", where=folder)
    return found


def load_folder(
    folder: Path, classes: Sequence[str], size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Decode all images of a folder that has one sub-folder for each class.

    Each is scaled until it covers ``size`` and cut to its middle.  The decoded images
    stay in memory: ``n · height · width · 3`` bytes.

    Args:
        classes: Names of the sub-folders; a name's position is its label.
        size: Height and width in pixels.

    Returns:
        ``(n, height, width, 3)`` uint8, and ``(n,)`` int64.

    Raises:
        TrainingError: A class is unknown, or images cannot be read; the message has
            the number of them and the first three.
    """
    unknown = sorted(set(class_names(folder)) - set(classes))
    if unknown:
        raise TrainingError(
            f"class {unknown[0]!r} is not among the training data's", where=folder
        )
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(folder.joinpath(name).rglob("*"))
        if path.suffix.lower() in SUFFIXES
    ]
    pixels = torch.empty(len(files), *size, 3, dtype=torch.uint8)
    paths = [path for path, _ in files]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = list(pool.map(_decode, paths, pixels.numpy()))
    bad = [
        f"{path.relative_to(folder)} ({fault})"
        for path, fault in zip(paths, faults, strict=True)
        if fault
    ]
    if bad:
        raise TrainingError(
            f"{len(bad)} of {len(files)} images cannot be read: {', '.join(bad[:3])}",
            where=folder,
            hint="Remove them or fetch them again",
        )
    return pixels, torch.tensor([label for _, label in files], dtype=torch.int64)


def _decode(path: Path, out: np.ndarray) -> str:
    """Read one image into ``out``, ``(height, width, 3)``; why not, or ""."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            size = (out.shape[1], out.shape[0])
            out[:] = np.asarray(ImageOps.fit(image.convert("RGB"), size))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return type(error).__name__
    return ""


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
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    crop: int = 0
    flip: bool = False
    channels_last: bool = False

    def __call__(self, batch: tuple[Tensor, ...], generator: torch.Generator) -> Any:
        """``(batch, channels, height, width)`` float32, and the labels."""
        images, labels = batch
        if self.crop or self.flip:
            images = augment(images, self.crop, self.flip, generator)
        unit = 255.0 if images.dtype == torch.uint8 else 1.0
        images = images.permute(0, 3, 1, 2)
        if not self.channels_last:
            images = images.contiguous()
        images = images.float()
        if self.std or unit != 1.0:
            images = images * (1.0 / (unit * self._column(self.std, 1.0)))
        if self.mean:
            images -= self._column(self.mean, 0.0) / self._column(self.std, 1.0)
        return images, labels

    def _column(self, values: tuple[float, ...], default: float) -> Tensor:
        return torch.tensor(values or (default,)).view(-1, 1, 1)


def augment(
    images: Tensor, crop: int, flip: bool, generator: torch.Generator
) -> Tensor:
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
