"""The task ``image-classification``: a network of yours over arrays or folders.

.. code-block:: yaml

    task:
      name: image-classification
      model: ./resnet.py:resnet20        # or torchvision.models:resnet50
      model_options: {num_classes: 10}
      train: data/train.npz              # or a folder that has a folder for each class
      validation: 0.1                    # a share of the training data, or a path
      test: {path: data/all.npz, images: x_test, labels: y_test}
      mean: [0.485, 0.456, 0.406]
      std: [0.229, 0.224, 0.225]
      augment: {crop: 4, flip: true}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import references
from ..data import TensorData
from ..errors import UsageError
from ..images import Preprocess, class_names, load_arrays, load_folder
from ..sampling import permutation
from . import Task

NAME = "image-classification"


class ImageClassification(Task):
    """Images with one class each, all held in memory.

    Args:
        model: ``module:attribute`` or ``./file.py:attribute`` of a function or class
            that makes the network.
        train: An ``.npz`` file or an image folder, or ``{path, images, labels}`` with
            the names of the arrays.
        validation: Likewise, or the share of the training images to hold out (the same
            ones each time), or None.
        test: Likewise, or None.
        model_options: Keyword arguments for ``model``.
        images: Name of the images' array, ``(n, height, width[, channels])``, uint8 or
            float.
        labels: Name of the labels' array, ``(n,)`` integers.
        size: Pixels, one number or ``[height, width]``; needed for image folders.
        mean: One number a channel, in the scale of 0 to 1 for uint8 images.
        std: Likewise.
        augment: ``crop`` (largest move in pixels) and ``flip`` (left to right), for
            training.
        channels_last: See :class:`wpack.images.Preprocess`.
        folder: Where relative paths start.

    Raises:
        UsageError: The options do not fit together.
    """

    unit = "images"

    def __init__(
        self,
        model: str,
        train: str | Mapping[str, str],
        validation: str | Mapping[str, str] | float | None = None,
        test: str | Mapping[str, str] | None = None,
        *,
        model_options: Mapping[str, Any] | None = None,
        images: str = "images",
        labels: str = "labels",
        size: int | Sequence[int] | None = None,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        augment: Mapping[str, Any] | None = None,
        channels_last: bool = False,
        folder: Path | str = ".",
    ) -> None:
        if isinstance(validation, int | float) and not 0 < validation < 1:
            raise UsageError(
                f"must be a path or a share between 0 and 1, got {validation}",
                where=f"{NAME}: validation",
            )
        self._model = model
        self._model_options = dict(model_options or {})
        self._sources = {"train": train, "validation": validation, "test": test}
        self._keys = {"images": images, "labels": labels}
        self._size = None if size is None else _size(size)
        self._folder = Path(folder)
        self._plain = Preprocess(
            _numbers("mean", mean), _numbers("std", std), channels_last=channels_last
        )
        self._augmented = _augmented(self._plain, augment or {})
        self._loaded: dict[str, tuple[Tensor, Tensor]] = {}
        self._classes: list[str] | None = None

    def model(self) -> nn.Module:
        """A new network, made by the user's function."""
        found = references.resolve(self._model, self._folder)
        made: nn.Module = references.call(
            self._model, found, self._model_options, nn.Module
        )
        return made

    def data(self, split: str) -> TensorData | None:
        """The images of a split, decoded when first asked for."""
        share = self._sources["validation"]
        if isinstance(share, int | float) and split in ("train", "validation"):
            images, labels = self._load("train")
            chosen = _held_out(len(labels), share, split)
            images, labels = images[chosen], labels[chosen]
        elif self._sources[split] is None:
            return None
        else:
            images, labels = self._load(split)
        transform = self._augmented if split == "train" else self._plain
        return TensorData(images, labels, transform=transform)

    def _load(self, split: str) -> tuple[Tensor, Tensor]:
        if split not in self._loaded:
            self._loaded[split] = self._read(split)
            self._check_channels(self._loaded[split][0].shape[-1])
        return self._loaded[split]

    def _read(self, split: str) -> tuple[Tensor, Tensor]:
        source = self._sources[split]
        options = source if isinstance(source, Mapping) else {"path": str(source)}
        extra = sorted(set(options) - {"path", *self._keys})
        if extra or "path" not in options:
            raise UsageError(
                f"must be a path, or path, images and labels; got {sorted(options)}",
                where=f"{NAME}: {split}",
            )
        path = self._folder / options["path"]
        if not path.is_dir():
            keys = {**self._keys, **options}
            return load_arrays(path, keys["images"], keys["labels"])
        if self._size is None:
            raise UsageError(
                f"{path} is an image folder, and size is not given",
                where=f"{NAME}: {split}",
                hint="Set size: [height, width]",
            )
        if self._classes is None:
            train = self._sources["train"]
            root = train["path"] if isinstance(train, Mapping) else str(train)
            self._classes = class_names(self._folder / root)
        return load_folder(path, self._classes, self._size)

    def _check_channels(self, channels: int) -> None:
        for name in ("mean", "std"):
            given = len(getattr(self._plain, name))
            if given not in (0, 1, channels):
                raise UsageError(
                    f"has {given} numbers, the images have {channels} channels",
                    where=f"{NAME}: {name}",
                )


def _held_out(count: int, share: float, split: str) -> Tensor:
    """Example numbers of ``split`` when a share is held out, in rising order."""
    order = torch.from_numpy(permutation(count, seed=0, epoch=0))
    held = round(count * share)
    chosen = order[:held] if split == "validation" else order[held:]
    return chosen.sort().values


def _size(size: int | Sequence[int]) -> tuple[int, int]:
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or not all(isinstance(n, int) and n > 0 for n in both):
        raise UsageError(
            f"must be pixels or [height, width], got {size!r}", where=f"{NAME}: size"
        )
    return both[0], both[1]


def _numbers(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if name == "std" and not all(number > 0 for number in numbers):
        raise UsageError("must be above 0", where=f"{NAME}: std")
    return numbers


def _augmented(plain: Preprocess, options: Mapping[str, Any]) -> Preprocess:
    unknown = sorted(set(options) - {"crop", "flip"})
    crop, flip = options.get("crop", 0), options.get("flip", False)
    if unknown or not isinstance(crop, int) or crop < 0 or not isinstance(flip, bool):
        raise UsageError(
            f"must be {{crop: pixels, flip: true or false}}, got {dict(options)}",
            where=f"{NAME}: augment",
        )
    return Preprocess(plain.mean, plain.std, crop, flip, plain.channels_last)


#: What ``image-classification`` names in a spec.
task = ImageClassification
