"""The built-in task for labelled images."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from wpack.cropping import ResizedCrop
from wpack.data import TensorData
from wpack.errors import SpecError, TrainingError, UsageError
from wpack.events import Event, Step
from wpack.finetune import finetune
from wpack.image_files import ImageFiles
from wpack.runs import Run
from wpack.spec import FinetuneSpec
from wpack.stopping import Interrupted, never
from wpack.tasks import Task, image_classification, make_task

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
    with pytest.raises((UsageError, SpecError)) as caught:
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


def test_class_without_images(tmp_path: Path) -> None:
    """It would shift the labels of all others: a mistake in training data alone."""
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            Image.new("RGB", (4, 4)).save(tmp_path / split / name / "1.png")
        (tmp_path / split / "aa").mkdir()
    made = task(tmp_path, train="train", validation="val", size=4)
    with pytest.raises(TrainingError, match=r"train: class 'aa' has no images\."):
        made.data("train")
    (tmp_path / "train" / "aa").rmdir()
    (tmp_path / "val" / "aa").rmdir()
    (tmp_path / "val" / "a" / "1.png").unlink()

    assert [1] == task(tmp_path, train="train", validation="val", size=4).data(
        "validation"
    ).tensors[1].tolist()


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
            "augment: mixup: unknown key 'mixup' (known: resized_crop, crop, flip,",
        ),
        ({"augment": {"crop": -1}}, "augment: crop: should be 0 or more, not -1"),
        ({"mixup": -1}, "mixup: must be a number from 0, got -1"),
        ({"cutmix": True}, "cutmix: must be a number from 0, got True"),
        ({"crop_pct": 1.5}, "crop_pct: must be a share from 0 to 1, got 1.5"),
        ({"crop_pct": 0.9}, "crop_pct: is for image folders, train is none"),
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


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """``train``: ten images of two classes, as an image folder."""
    random = np.random.default_rng(0)
    for number in range(10):
        path = tmp_path / "train" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (9, 12, 3), np.uint8)).save(path)
    return tmp_path


def folder_task(folder: Path, **options: Any) -> Any:
    """The task over ``train``, and a fifth of it held out."""
    return task(folder, **{"train": "train", "validation": 0.2, "size": 6, **options})


@pytest.mark.parametrize(
    ("options", "train", "validation"),
    [
        ({}, TensorData, TensorData),
        ({"cache": False}, ImageFiles, ImageFiles),
        ({"augment": {"resized_crop": True}}, ImageFiles, TensorData),
        ({"augment": {"resized_crop": True}, "cache": True}, TensorData, TensorData),
    ],
)
def test_what_stays_in_memory(
    pictures: Path, options: dict[str, Any], train: type, validation: type
) -> None:
    """Small folders do, but for those whose images are cut out of the whole file."""
    made = folder_task(pictures, **options)

    assert train is type(made.data("train"))
    assert validation is type(made.data("validation"))
    assert (8, 2) == (len(made.data("train")), len(made.data("validation")))


def test_large_folders_do_not_stay(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit counts the bytes of a split's decoded images."""
    monkeypatch.setattr(image_classification, "CACHED_NBYTES", 2 * 6 * 6 * 3)
    made = folder_task(pictures)

    assert isinstance(made.data("train"), ImageFiles)
    assert isinstance(made.data("validation"), TensorData)


def test_decoded_now_or_later_is_the_same(pictures: Path) -> None:
    """The rule changes memory and speed, never a pixel."""
    options = {"augment": {"crop": 2, "flip": True}, "mixup": 0.8, "crop_pct": 0.8}
    kept, later = (
        folder_task(pictures, cache=cache, **options).data("train")
        for cache in (True, False)
    )
    found = [
        data.batch(torch.tensor([3, 1, 6]), torch.Generator().manual_seed(0))
        for data in (kept, later)
    ]

    assert all(map(torch.equal, *found))


def test_crops_are_taken_once(pictures: Path) -> None:
    """A part of the file is scaled; no part is cut out of that again."""
    made = folder_task(pictures, augment={"resized_crop": {"scale": [0.1, 0.2]}})
    data = made.data("train")

    assert ResizedCrop((0.1, 0.2)) == data.crop
    assert data.transform.resized_crop is None
    assert made.data("validation").transform.resized_crop is None


def test_mixed_batches(arrays: Path) -> None:
    """Training images are mixed, others are not; the loss has both labels."""
    made: Any = task(arrays, test="data.npz", mixup=0.8, cutmix=1.0)
    generator = torch.Generator().manual_seed(0)
    batch = made.data("train").batch(torch.arange(8), generator)
    plain = made.data("test").batch(torch.arange(8), generator)
    logits = torch.randn(8, 2, generator=generator)
    soft = torch.zeros(8, 2)
    for column, share in ((batch[1], batch[3]), (batch[2], 1 - batch[3])):
        soft[torch.arange(8), column] += share
    expected = functional.cross_entropy(logits, soft, label_smoothing=0.1)

    assert (4, 2) == (len(batch), len(plain))
    assert torch.allclose(expected, made.loss(logits, batch, label_smoothing=0.1))
    assert torch.equal(
        functional.cross_entropy(logits, plain[1]), made.loss(logits, plain)
    )


def test_a_run_with_everything_resumes_exactly(pictures: Path) -> None:
    """Folders decoded for each batch, random crops and mixing: stopped and resumed, a
    run ends with the same bits."""
    model = "tests.tasks.test_image_classification:small"
    options = {
        "augment": {"resized_crop": True, "flip": True},
        "mixup": 0.8,
        "cutmix": 1.0,
        "model": model,
    }
    recipe = FinetuneSpec(
        steps=6, batch_size=4, save_every=2, distill=None, label_smoothing=0.1
    )

    def train(name: str, most: int | None = None) -> list[Event]:
        made = folder_task(pictures, **options)
        run = Run(pictures / name, resume=(pictures / name).exists())
        steps: list[int] = []
        student = small()
        found = []
        stop = (lambda: 130 if len(steps) == most else 0) if most else never
        with contextlib.suppress(Interrupted):
            for event in finetune(student, made, recipe, run=run, stop=stop):
                if isinstance(event, Step):
                    steps.append(event.step)
                found.append(event)
        return found

    whole = train("whole")
    train("halved", 3)
    halved = train("halved")

    assert losses(whole)[3:] == losses(halved)
    assert whole[-1] == halved[-1]


def small() -> nn.Module:
    """A network for images of 6×6."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 2))


def losses(events: list[Event]) -> list[tuple[int, float]]:
    """Of each step."""
    return [(e.step, e.loss) for e in events if isinstance(e, Step)]
