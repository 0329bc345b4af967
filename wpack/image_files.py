"""Image folders, with one sub-folder for each class.

Files are decoded when a batch asks for them, by as many threads as there are cores, or
all at once if they are to stay in memory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cropping import ResizedCrop, middle
from .data import TensorData, Transform, cut
from .errors import TrainingError, UsageError

#: Files that count as images in an image folder.
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


def class_names(folder: Path) -> list[str]:
    """The classes of an image folder: its sub-folders, sorted, but hidden ones.

    Raises:
        TrainingError: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise TrainingError("there is no such folder", where=folder)
    found = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".")
    )
    if not found:
        raise TrainingError("has no folders, one for each class", where=folder)
    return found


@dataclass(frozen=True)
class ImageFiles:
    """Labelled image files: :class:`~wpack.data.Data` that never holds more images than
    a batch.

    Each image is scaled until it covers ``size / crop_pct``, and cut to its middle of
    ``size``; or with ``crop``, a random part of it is scaled to ``size``.

    Attributes:
        folder: What messages show paths relative to.
        paths: A file for each example.
        labels: ``(n,)`` int64.
        size: Height and width in pixels.
        crop_pct: Share of the sides that is left, at most 1.
        crop: Takes random parts.
        transform: Applied to each batch, ``(batch, height, width, 3)`` uint8 and
            ``(batch,)`` labels.
    """

    folder: Path
    paths: Sequence[Path]
    labels: Tensor
    size: tuple[int, int]
    crop_pct: float = 1.0
    crop: ResizedCrop | None = None
    transform: Transform | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
        """See :meth:`wpack.data.Data.batch`.

        Raises:
            TrainingError: Images cannot be read; the message has the number of them and
                the first three.
        """
        return self.part(indices, generator, slice(0, len(indices)))

    def part(self, indices: Tensor, generator: torch.Generator, rows: slice) -> Any:
        """Some rows of a batch; see :class:`~wpack.data.Data`.

        Images of other rows are not decoded and are black to the transform, but for the
        one before each row: it may be mixed with that.

        Raises:
            TrainingError: As :meth:`batch` does.
        """
        count = len(indices)
        draws = self.crop.draws(count, generator) if self.crop else None
        own = range(*rows.indices(count))
        seen = sorted({row % count for each in own for row in (each - 1, each)})
        paths = [self.paths[index] for index in indices[seen].tolist()]
        pixels = torch.zeros(count, *self.size, 3, dtype=torch.uint8)
        pixels[seen] = self._decode(paths, None if draws is None else draws[seen])
        fetched = pixels, self.labels[indices]
        whole = self.transform(fetched, generator) if self.transform else fetched
        return cut(whole, count, rows)

    def take(self, chosen: Tensor) -> ImageFiles:
        """Some of the examples, by their numbers."""
        paths = [self.paths[index] for index in chosen.tolist()]
        return replace(self, paths=paths, labels=self.labels[chosen])

    @property
    def decoded_nbytes(self) -> int:
        """Bytes that :meth:`in_memory` takes."""
        return len(self) * self.size[0] * self.size[1] * 3

    def in_memory(self) -> TensorData:
        """All images, decoded: the same batches but for ``crop``, which is left out.

        Raises:
            TrainingError: As :meth:`batch` does.
        """
        pixels = self._decode(self.paths, None)
        return TensorData(pixels, self.labels, transform=self.transform)

    def _decode(self, paths: Sequence[Path], draws: np.ndarray | None) -> Tensor:
        """``(n, height, width, 3)`` uint8."""
        pillow()
        pixels = torch.empty(len(paths), *self.size, 3, dtype=torch.uint8)
        each = [None] * len(paths) if draws is None else draws
        # Pillow decodes and scales without the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            faults = list(pool.map(self._decode_one, paths, pixels.numpy(), each))
        bad = [
            f"{path.relative_to(self.folder)} ({fault})"
            for path, fault in zip(paths, faults, strict=True)
            if fault
        ]
        if bad:
            raise TrainingError(
                f"{len(bad)} of {len(paths)} images cannot be read:"
                f" {', '.join(bad[:3])}",
                where=self.folder,
                hint="Remove them or fetch them again",
            )
        return pixels

    def _decode_one(self, path: Path, out: np.ndarray, draws: np.ndarray | None) -> str:
        """Read one image into ``out``, ``(height, width, 3)``; why not, or ""."""
        from PIL import Image

        tall, wide = self.size
        try:
            with Image.open(path) as image:
                width, height = image.size
                if self.crop is None or draws is None:
                    box = middle(height, width, wide / tall, self.crop_pct)
                else:
                    box = self.crop.box(draws, height, width)
                scaled = image.convert("RGB").resize(
                    (wide, tall), Image.Resampling.BICUBIC, box
                )
                out[:] = np.asarray(scaled)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as no:
            return type(no).__name__
        return ""


def list_images(
    folder: Path, classes: Sequence[str], size: tuple[int, int], crop_pct: float = 1.0
) -> ImageFiles:
    """The images of a folder that has one sub-folder for each class.

    Args:
        classes: Names of the sub-folders; a name's position is its label.
        size: See :class:`ImageFiles`.
        crop_pct: Likewise.

    Raises:
        TrainingError: A class is unknown.
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
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return ImageFiles(folder, [path for path, _ in files], labels, size, crop_pct)


def pillow() -> None:
    """Make sure that images can be decoded.

    Raises:
        UsageError: Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise UsageError(
            "image files need Pillow, which is not installed",
            hint="pip install 'wpack[vision]'",
        ) from None
