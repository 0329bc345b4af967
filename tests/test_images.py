"""Labelled images: reading them from arrays, and making them ready."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from wpack.cropping import ResizedCrop
from wpack.errors import TrainingError, UsageError
from wpack.images import Preprocess, load_arrays
from wpack.mixing import Mixing


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


def noisy(image: Tensor) -> Tensor:
    """A change that draws as torchvision's do."""
    return (image + torch.randint(0, 200, ())).to(image.dtype)


EVERYTHING = Preprocess(
    (0.5,),
    (0.2,),
    crop=1,
    flip=True,
    resized_crop=ResizedCrop((0.3, 1.0)),
    colours=[noisy],
    erasing=[noisy],
    mixing=Mixing(1.0, 1.0),
)


def test_all_that_is_random_comes_from_the_generator() -> None:
    """The same generator gives the same batch, whatever else was drawn; another one
    gives another."""
    images, labels = torch.from_numpy(pixels(4, 5, 6, 3)), torch.arange(4)

    def batch(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return list(EVERYTHING((images, labels), generator))

    first = batch(0)
    torch.rand(7)

    assert all(map(torch.equal, first, batch(0)))
    assert not torch.equal(first[0], batch(1)[0])
    assert (4, 3, 5, 6) == first[0].shape
    assert torch.equal(images, torch.from_numpy(pixels(4, 5, 6, 3)))


def test_nothing_random_leaves_the_global_generator_alone() -> None:
    """What draws from torch's generator is given a seed, and it is put back after."""
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    EVERYTHING(
        (torch.from_numpy(pixels(4, 5, 6, 3)), torch.arange(4)), torch.Generator()
    )

    assert torch.equal(expected, torch.rand(2))


def test_mixed_channels_last() -> None:
    """The memory format outlives every change."""
    last = replace(EVERYTHING, channels_last=True)
    batch = torch.from_numpy(pixels(4, 5, 6, 3)), torch.arange(4)
    found, *_ = last(batch, torch.Generator().manual_seed(0))
    plain, *_ = EVERYTHING(batch, torch.Generator().manual_seed(0))

    assert found.is_contiguous(memory_format=torch.channels_last)
    assert plain.is_contiguous()
    assert torch.equal(plain, found)


def test_colours_of_floats() -> None:
    """Only uint8 has a scale that torchvision's colours can rely on."""
    with pytest.raises(UsageError) as caught:
        EVERYTHING((torch.zeros(1, 2, 2, 3), torch.arange(1)), torch.Generator())

    assert (
        "augment: colours are changed of uint8 images only, these are float32. Leave"
        " out color_jitter and policy, or store the images as uint8"
    ) == str(caught.value)
