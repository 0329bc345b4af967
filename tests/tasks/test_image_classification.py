"""The built-in task for labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from wpack.data import TensorData
from wpack.errors import UsageError
from wpack.tasks import Task, make_task

MODEL = "torch.nn:Linear"


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """``data.npz``: twenty images whose every pixel is their number, and five."""
    number = np.arange(25, dtype=np.uint8)
    images = np.broadcast_to(number[:, None, None, None], (25, 4, 4, 3))
    np.savez(
        tmp_path / "data.npz",
        images=images[:20],
        labels=number[:20] % 2,
        x_test=images[20:],
        y_test=number[20:] % 2,
    )
    return tmp_path


def task(folder: Path, **options: Any) -> Task:
    """The task, with relative paths from ``folder``."""
    options = {"model": MODEL, "train": "data.npz", **options}
    return make_task("image-classification", options, folder)


def numbers(data: TensorData | None) -> list[int]:
    """Which of the images are in a split."""
    assert data is not None
    return data.tensors[0][:, 0, 0, 0].tolist()


def message(folder: Path, split: str = "train", **options: Any) -> str:
    """What is wrong with the options."""
    with pytest.raises(UsageError) as caught:
        task(folder, **options).data(split)
    return str(caught.value)


def test_splits_of_one_file(arrays: Path) -> None:
    """A split may have arrays of its own in a file; one that is not named is None."""
    test = {"path": "data.npz", "images": "x_test", "labels": "y_test"}
    made = task(arrays, test=test)

    assert list(range(20)) == numbers(made.data("train"))
    assert list(range(20, 25)) == numbers(made.data("test"))
    assert made.data("validation") is None


def test_images_are_counted(arrays: Path) -> None:
    """Speed is in images."""
    made = task(arrays)
    batch = made.data("train").batch(torch.arange(3), torch.Generator())

    assert ("images", 3) == (made.unit, made.count(batch))


def test_held_out_share(arrays: Path) -> None:
    """A share of the training images is held out, the same ones each time."""
    made, again = task(arrays, validation=0.25), task(arrays, validation=0.25)
    held, rest = numbers(made.data("validation")), numbers(made.data("train"))

    assert 5 == len(held)
    assert list(range(20)) == sorted(held + rest)
    assert held == numbers(again.data("validation"))
    assert held != list(range(5))


def test_preprocessing(arrays: Path) -> None:
    """Training images are augmented, others are not; all are normalised."""
    made = task(
        arrays,
        test="data.npz",
        mean=(0.5,),
        std=(0.25,),
        augment={"crop": 2, "flip": True},
    )
    generator = torch.Generator().manual_seed(0)
    indices = torch.tensor([19, 3])
    plain, labels = made.data("test").batch(indices, generator)
    moved, _ = made.data("train").batch(indices, generator)

    value = (19 / 255 - 0.5) / 0.25
    assert torch.allclose(torch.full((3, 4, 4), value), plain[0])
    assert [1, 1] == labels.tolist()
    assert moved.shape == plain.shape
    assert {round(value, 4), -2.0} == {round(v, 4) for v in moved[0].flatten().tolist()}


def test_files_are_read_once(arrays: Path) -> None:
    """The training file is not read again for what is held out of it."""
    made = task(arrays, validation=0.5)
    made.data("train")
    (arrays / "data.npz").unlink()

    assert 10 == len(numbers(made.data("validation")))


def test_image_folders(tmp_path: Path) -> None:
    """Folders work alike; labels are the training folder's."""
    for name in ("train/cat", "train/dog", "test/dog"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (6, 5), (7, 7, 7)).save(tmp_path / name / "1.png")
    made = task(tmp_path, train="train", test={"path": "test"}, size=(4, 3))
    images, labels = made.data("test").batch(torch.tensor([0]), torch.Generator())

    assert (1, 3, 4, 3) == images.shape
    assert [1] == labels.tolist()
    assert [0, 1] == made.data("train").tensors[1].tolist()


def test_model(arrays: Path) -> None:
    """The network is made by the user's function, with its options."""
    made = task(arrays, model_options={"in_features": 3, "out_features": 2}).model()

    assert isinstance(made, nn.Linear)
    assert (2, 3) == made.weight.shape


def test_y11_model(arrays: Path) -> None:
    """A factory that fails, or makes no module, is told by its name."""
    with pytest.raises(UsageError) as caught:
        task(arrays).model()
    assert (
        "torch.nn:Linear: missing a required argument: 'in_features'. Its options:"
        " in_features, out_features, bias, device, dtype"
    ) == str(caught.value)

    with pytest.raises(UsageError) as caught:
        task(arrays, model="builtins:dict").model()
    assert "builtins:dict: gave a dict, not a torch Module" == str(caught.value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"validation": 1.5},
            "validation: must be a path or a share between 0 and 1, got 1.5",
        ),
        (
            {"train": {"file": "x"}},
            "train: must be a path, or path, images and labels;",
        ),
        ({"train": "."}, "train: . is an image folder, and size is not given."),
        ({"size": 0}, "size: must be pixels or [height, width], got 0"),
        ({"size": (1, 2, 3)}, "size: must be pixels or [height, width], got (1, 2, 3)"),
        ({"mean": (0.1, 0.2)}, "mean: has 2 numbers, the images have 3 channels"),
        ({"std": (0.0,)}, "std: must be above 0"),
        (
            {"augment": {"mixup": 1}},
            "augment: must be {crop: pixels, flip: true or false}, got {'mixup': 1}",
        ),
        (
            {"augment": {"crop": -1}},
            "augment: must be {crop: pixels, flip: true or false}, got {'crop': -1}",
        ),
    ],
)
def test_wrong_options(arrays: Path, options: dict[str, Any], expected: str) -> None:
    """Options that do not fit are told by their names."""
    found = message(arrays, **options).replace(str(arrays), ".")

    assert found.startswith(f"image-classification: {expected}")


def test_unknown_option(arrays: Path) -> None:
    """A misspelt option is told with those there are."""
    with pytest.raises(UsageError) as caught:
        task(arrays, modle="x")

    assert str(caught.value).startswith(
        "image-classification: got an unexpected keyword argument 'modle'."
        " Its options: model, train, validation, test, model_options, images,"
    )
