"""The task ``image-classification``: a network by name over arrays or folders.

.. code-block:: yaml

    task:
      name: image-classification
      model: ./resnet.py:resnet20        # or torchvision:resnet50, timm:deit_tiny_…
      model_options: {num_classes: 10}
      train: data/train.npz              # or a folder that has a folder for each class
      validation: 0.1                    # a share of the training data, or a path
      test: {path: data/all.npz, images: x_test, labels: y_test}
      mean: [0.485, 0.456, 0.406]
      std: [0.229, 0.224, 0.225]
      augment: {crop: 4, flip: true}

Image folders and the augmentation that large networks are trained with:

.. code-block:: yaml

    task:
      name: image-classification
      model: timm:deit_small_patch16_224
      train: imagenet/train
      validation: imagenet/val
      size: 224
      crop_pct: 0.875
      augment:
        resized_crop: true
        flip: true
        color_jitter: 0.3
        policy: {name: randaugment, magnitude: 9}
        erase: 0.25
      mixup: 0.8
      cutmix: 1.0
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import make_model
from ..augmentation import colour_changes, erasing_changes
from ..cropping import ResizedCrop
from ..data import Data, TensorData
from ..errors import TrainingError, UsageError
from ..image_files import ImageFiles, class_names, list_images
from ..images import Preprocess, load_arrays
from ..mixing import Mixing, cross_entropy
from ..sampling import permutation
from ..spec.augment import AugmentSpec, augment_spec
from . import Task

NAME = "image-classification"
#: Decoded image folders of at most so many bytes stay in memory: 2 GiB.
CACHED_NBYTES = 2 << 30


class ImageClassification(Task):
    """Images with one class each.

    Args:
        model: ``torchvision:NAME`` or ``timm:NAME`` of a model that the library lists,
            without weights; or ``module:attribute`` or ``./file.py:attribute`` of a
            function or class that makes the network.
        train: An ``.npz`` file or an image folder, or ``{path, images, labels}`` with
            the names of the arrays.
        validation: Likewise, or the share of the training images to hold out (the same
            ones each time), or None.
        test: Likewise, or None.
        model_options: Keyword arguments for ``model``.
        images: Name of the images' array, ``(n, height, width[, channels])``, uint8 or
            float.
        labels: Name of the labels' array, ``(n,)`` integers.
        size: Pixels, one number or ``[height, width]``; needed for image folders, whose
            images are scaled until they cover it, and cut to their middle.
        crop_pct: For image folders: the share of the sides that the cut leaves.
        cache: Whether decoded image folders stay in memory; None: those of at most
            :data:`CACHED_NBYTES`, but for training images of ``resized_crop``, which
            are cut out of the whole file.  Others are decoded for each batch.
        mean: One number a channel, in the scale of 0 to 1 for uint8 images.
        std: Likewise.
        augment: For training, see :class:`wpack.spec.augment.AugmentSpec`.
        mixup: For training: α of mixup; 0: none.
        cutmix: For training: α of CutMix; 0: none.  With both, each batch has one.
        channels_last: See :class:`wpack.images.Preprocess`.
        folder: Where relative paths start.

    Raises:
        UsageError: The options do not fit together.
        SpecError: ``augment`` is wrong.
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
        crop_pct: float = 1.0,
        cache: bool | None = None,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        augment: Mapping[str, Any] | None = None,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        channels_last: bool = False,
        folder: Path | str = ".",
    ) -> None:
        if isinstance(validation, int | float) and not 0 < validation < 1:
            raise UsageError(
                f"must be a path or a share between 0 and 1, got {validation}",
                where=f"{NAME}: validation",
            )
        if not 0 < crop_pct <= 1:
            raise UsageError(
                f"must be a share from 0 to 1, got {crop_pct}",
                where=f"{NAME}: crop_pct",
            )
        self._model = model
        self._model_options = dict(model_options or {})
        self._sources = {"train": train, "validation": validation, "test": test}
        self._keys = {"images": images, "labels": labels}
        self._size = None if size is None else _size(size)
        self._crop_pct, self._cache = crop_pct, cache
        self._folder = Path(folder)
        self._plain = Preprocess(
            _numbers("mean", mean), _numbers("std", std), channels_last=channels_last
        )
        changes = augment_spec(augment or {}, f"{NAME}: augment")
        self._augmented = _augmented(self._plain, changes, _mixing(mixup, cutmix))
        self._loaded: dict[str, TensorData | ImageFiles] = {}
        self._decoded: dict[str, TensorData] = {}
        self._classes: list[str] | None = None

    def model(self) -> nn.Module:
        """A new network."""
        return make_model(self._model, self._model_options, self._folder)

    def data(self, split: str) -> Data | None:
        """The images of a split: read when first asked for, and decoded then or for
        each batch."""
        share = self._sources["validation"]
        if isinstance(share, int | float) and split != "test":
            found = self._load("train")
            found = found.take(_held_out(len(found), share, split))
        elif self._sources[split] is None:
            return None
        else:
            found = self._load(split)
        transform = self._augmented if split == "train" else self._plain
        if isinstance(found, TensorData):
            return TensorData(*found.tensors, transform=transform)
        return self._folder_data(split, found, transform)

    def loss(self, outputs: Any, batch: Any, *, label_smoothing: float = 0.0) -> Tensor:
        """The mean cross-entropy, 0-d, with each image's labels in their shares."""
        logits = self.logits(outputs, batch).float()
        return cross_entropy(logits, batch[1:], label_smoothing)

    def _folder_data(
        self, split: str, files: ImageFiles, transform: Preprocess
    ) -> TensorData | ImageFiles:
        """An image folder's split, decoded now or for each batch."""
        fits = files.decoded_nbytes <= CACHED_NBYTES and not transform.resized_crop
        if not (fits if self._cache is None else self._cache):
            # The part is taken as the file is decoded, and not again from the result.
            crop, later = transform.resized_crop, replace(transform, resized_crop=None)
            return replace(files, crop=crop, transform=later)
        if split not in self._decoded:
            self._decoded[split] = files.in_memory()
        return TensorData(*self._decoded[split].tensors, transform=transform)

    def _load(self, split: str) -> TensorData | ImageFiles:
        if split not in self._loaded:
            self._loaded[split] = self._read(split)
        return self._loaded[split]

    def _read(self, split: str) -> TensorData | ImageFiles:
        source = self._sources[split]
        options = source if isinstance(source, Mapping) else {"path": str(source)}
        extra = sorted(set(options) - {"path", *self._keys})
        if extra or "path" not in options:
            raise UsageError(
                f"must be a path, or path, images and labels; got {sorted(options)}",
                where=f"{NAME}: {split}",
            )
        path = self._folder / options["path"]
        if path.is_dir():
            self._check_channels(3)
            return self._list(split, path)
        if self._crop_pct != 1:
            raise UsageError(
                f"is for image folders, {split} is none", where=f"{NAME}: crop_pct"
            )
        keys = {**self._keys, **options}
        images, labels = load_arrays(path, keys["images"], keys["labels"])
        self._check_channels(images.shape[-1])
        return TensorData(images, labels)

    def _list(self, split: str, path: Path) -> ImageFiles:
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
        found = list_images(path, self._classes, self._size, self._crop_pct)
        seen = set(found.labels.tolist())
        empty = [n for label, n in enumerate(self._classes) if label not in seen]
        if empty and split == "train":
            raise TrainingError(
                f"class {empty[0]!r} has no images",
                where=path,
                hint="Remove the folder if it is no class, or put images into it",
            )
        return found

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


def _mixing(mixup: float, cutmix: float) -> Mixing | None:
    for name, alpha in (("mixup", mixup), ("cutmix", cutmix)):
        is_number = isinstance(alpha, int | float) and not isinstance(alpha, bool)
        if not is_number or not 0 <= alpha < float("inf"):
            raise UsageError(
                f"must be a number from 0, got {alpha!r}", where=f"{NAME}: {name}"
            )
    return Mixing(mixup, cutmix) if mixup or cutmix else None


def _augmented(
    plain: Preprocess, changes: AugmentSpec, mixing: Mixing | None
) -> Preprocess:
    crop = changes.resized_crop
    return replace(
        plain,
        crop=changes.crop,
        flip=changes.flip,
        resized_crop=ResizedCrop(crop.scale, crop.ratio) if crop else None,
        colours=colour_changes(changes),
        erasing=erasing_changes(changes),
        mixing=mixing,
    )


#: What ``image-classification`` names in a spec.
task = ImageClassification
