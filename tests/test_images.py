"""Labelled images: reading and augmenting them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wpack.errors import TrainingError
from wpack.images import Preprocess, augment, class_names, load_arrays, load_folder

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def save(path: Path, **arrays: np.ndarray) -> Path:
    """An ``.npz`` file."""
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def pixels(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    """0, 1, 2, … in a shape."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize(
    ("images", "shape", "dtype"),
    [
        (pixels(2, 3, 4, 3), (2, 3, 4, 3), torch.uint8),
        (pixels(2, 3, 4), (2, 3, 4, 1), torch.uint8),
        (pixels(2, 3, 4, dtype=np.float64), (2, 3, 4, 1), torch.float32),
        (np.asfortranarray(pixels(2, 3, 4, 3)), (2, 3, 4, 3), torch.uint8),
    ],
)
def test_arrays(
    tmp_path: Path, images: np.ndarray, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    """uint8 stays, floats become float32, grey images get a channel."""
    path = save(tmp_path / "a.npz", x=images, y=np.array([1, 0], np.uint8))
    found, labels = load_arrays(path, "x", "y")

    assert shape == found.shape
    assert dtype == found.dtype
    assert images.ravel().tolist() == found.flatten().tolist()
    assert torch.equal(torch.tensor([1, 0]), labels)


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (
            pixels(2, 3),
            pixels(2),
            "array 'x' must be (n, height, width[, channels]) of uint8 or float, got"
            " (2, 3) of uint8",
        ),
        (
            pixels(2, 3, 3, dtype=np.int32),
            pixels(2),
            "array 'x' must be (n, height, width[, channels]) of uint8 or float, got"
            " (2, 3, 3, 1) of int32",
        ),
        (
            pixels(2, 3, 3),
            pixels(3),
            "array 'y' must be (2,) integers from 0, got (3,) of uint8",
        ),
        (
            pixels(2, 3, 3),
            pixels(2, dtype=np.float32),
            "array 'y' must be (2,) integers from 0, got (2,) of float32",
        ),
        (
            pixels(2, 3, 3),
            np.array([0, -1]),
            "array 'y' must be (2,) integers from 0, got (2,) of int64",
        ),
    ],
)
def test_wrong_arrays(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, expected: str
) -> None:
    """Arrays that cannot be labelled images are refused with what they are."""
    path = save(tmp_path / "a.npz", x=images, y=labels)
    with pytest.raises(TrainingError) as caught:
        load_arrays(path, "x", "y")

    assert f"{path}: {expected}" == str(caught.value)


def test_missing_array(tmp_path: Path) -> None:
    """An array that is not there is told with those that are."""
    path = save(tmp_path / "a.npz", x_train=pixels(1, 2, 2), y_train=pixels(1))
    with pytest.raises(TrainingError) as caught:
        load_arrays(path, "images", "labels")

    assert (f"{path}: there is no array 'images'. There are: x_train, y_train") == str(
        caught.value
    )


def test_python_objects_are_not_read(tmp_path: Path) -> None:
    """An array of pickled objects is refused: unpickling runs code."""
    path = tmp_path / "a.npz"
    np.savez(path, images=np.array([{}], object), labels=pixels(1))
    with pytest.raises(TrainingError, match="Object arrays cannot be loaded"):
        load_arrays(path, "images", "labels")


def single_array() -> bytes:
    """A file of one array, as ``np.save`` writes it."""
    file = io.BytesIO()
    np.save(file, pixels(2, 2))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04broken", b"hello", single_array()]
)
def test_no_npz(tmp_path: Path, content: bytes) -> None:
    """A file that is no archive of arrays is told as such."""
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        load_arrays(path, "x", "y")

    assert str(caught.value).startswith(f"{path}: is no file of .npz arrays: ")


def test_missing_file(tmp_path: Path) -> None:
    """A path that leads nowhere is told."""
    path = tmp_path / "no.npz"
    with pytest.raises(TrainingError) as caught:
        load_arrays(path, "x", "y")

    assert f"{path}: cannot be read: No such file or directory" == str(caught.value)


def picture(path: Path, size: tuple[int, int], color: tuple[int, int, int]) -> None:
    """A file of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_folder(tmp_path: Path) -> None:
    """Classes are the sub-folders in order; images are fitted; other files ignored."""
    picture(tmp_path / "b" / "1.png", (8, 4), WHITE)
    picture(tmp_path / "a" / "deep" / "2.PNG", (5, 5), BLACK)
    picture(tmp_path / "a" / "1.png", (4, 4), WHITE)
    (tmp_path / "a" / "notes.txt").write_text("no image")
    classes = class_names(tmp_path)
    images, labels = load_folder(tmp_path, classes, (4, 6))

    assert ["a", "b"] == classes
    assert (3, 4, 6, 3) == images.shape
    assert [255, 0, 255] == images[:, 0, 0, 0].tolist()
    assert [0, 0, 1] == labels.tolist()


def test_folder_without_classes(tmp_path: Path) -> None:
    """A folder that has no sub-folders, or is not there, is no image folder."""
    with pytest.raises(TrainingError) as caught:
        class_names(tmp_path)
    assert f"{tmp_path}: has no folders, one for each class" == str(caught.value)

    with pytest.raises(TrainingError) as caught:
        class_names(tmp_path / "no")
    assert f"{tmp_path / 'no'}: there is no such folder" == str(caught.value)


def test_unknown_class(tmp_path: Path) -> None:
    """A class that the training data lack has no label."""
    picture(tmp_path / "zebra" / "1.png", (2, 2), WHITE)
    with pytest.raises(TrainingError) as caught:
        load_folder(tmp_path, ["horse"], (2, 2))

    assert (f"{tmp_path}: class 'zebra' is not among the training data's") == str(
        caught.value
    )


def test_t08_corrupt_images_are_counted(tmp_path: Path) -> None:
    """All that cannot be read are counted, the first ones named."""
    picture(tmp_path / "a" / "0.png", (4, 4), WHITE)
    whole = (tmp_path / "a" / "0.png").read_bytes()
    (tmp_path / "a" / "1.png").write_bytes(whole[:50])
    (tmp_path / "a" / "2.jpg").write_bytes(b"")
    with pytest.raises(TrainingError) as caught:
        load_folder(tmp_path, ["a"], (4, 4))

    found = str(caught.value)
    assert found.startswith(f"{tmp_path}: 2 of 3 images cannot be read: a/1.png (")
    assert "a/2.jpg (UnidentifiedImageError)" in found
    assert found.endswith(". Remove them or fetch them again")


@pytest.mark.parametrize(("crop", "flip"), [(0, True), (2, False), (3, True)])
def test_augment_against_slicing(crop: int, flip: bool) -> None:
    """One gather does what cutting and mirroring one image at a time does."""
    images = torch.from_numpy(pixels(16, 5, 7, 2) + 1)
    found = augment(images, crop, flip, torch.Generator().manual_seed(3))
    again = torch.Generator().manual_seed(3)
    top, left = torch.randint(0, 2 * crop + 1, (2, 16, 1), generator=again)
    mirrored = torch.rand(16, 1, generator=again) < 0.5

    black = np.pad(images.numpy(), ((0, 0), (crop, crop), (crop, crop), (0, 0)))
    for i, image in enumerate(found.numpy()):
        cut = black[i, top[i, 0] : top[i, 0] + 5, left[i, 0] : left[i, 0] + 7]
        expected = cut[:, ::-1] if flip and mirrored[i, 0] else cut
        assert expected.tolist() == image.tolist()


def test_augment_uses_its_range() -> None:
    """All moves come up, and about half of the images are mirrored."""
    images = torch.zeros(4000, 1, 3, 1, dtype=torch.uint8)
    images[:, 0, 0] = 1
    moved = augment(images, 0, True, torch.Generator().manual_seed(0))
    shifted = augment(images, 1, False, torch.Generator().manual_seed(0))

    assert 2000 == pytest.approx(int(moved[:, 0, 2].sum()), abs=150)
    assert {(1, 0, 0), (0, 1, 0), (0, 0, 0)} == {
        tuple(image) for image in shifted[:, 0, :, 0].tolist()
    }


def test_preprocess() -> None:
    """Pixels become (pixel / 255 - mean) / std, channels first."""
    images = torch.from_numpy(pixels(2, 3, 4, 3))
    labels = torch.tensor([0, 1])
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    found, same = Preprocess(mean, std)((images, labels), torch.Generator())
    expected = (images / 255 - torch.tensor(mean)) / torch.tensor(std)

    assert torch.allclose(expected.permute(0, 3, 1, 2), found, atol=1e-6)
    assert found.is_contiguous()
    assert labels is same


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.0, 1.0]),
        ({"mean": (0.5,)}, [-0.5, 0.5]),
        ({"std": (0.5,)}, [0.0, 2.0]),
    ],
)
def test_preprocess_defaults(
    options: dict[str, tuple[float, ...]], expected: list[float]
) -> None:
    """Black is 0 and white 1 where nothing else is said; one number serves all."""
    images = (
        torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2, 1).repeat(1, 1, 1, 3)
    )
    found, _ = Preprocess(**options)((images, images), torch.Generator())

    assert [expected] * 3 == found[0, :, 0].tolist()


def test_preprocess_floats() -> None:
    """Float images have the scale they have, and the data set is not changed."""
    images = torch.tensor([4.0, 8.0]).view(1, 1, 2, 1)
    found, _ = Preprocess(mean=(4.0,), std=(2.0,))((images, images), torch.Generator())

    assert [0.0, 2.0] == found.flatten().tolist()
    assert [4.0, 8.0] == images.flatten().tolist()


def test_channels_last() -> None:
    """The same numbers in the other memory format."""
    images = torch.from_numpy(pixels(2, 3, 4, 3))
    generator = torch.Generator()
    plain, _ = Preprocess((0.5,), (0.2,))((images, images), generator)
    last, _ = Preprocess((0.5,), (0.2,), channels_last=True)(
        (images, images), generator
    )

    assert torch.equal(plain, last)
    assert last.is_contiguous(memory_format=torch.channels_last)
