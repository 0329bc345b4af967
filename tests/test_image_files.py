"""Image folders: listing and decoding them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from wpack.cropping import ResizedCrop
from wpack.errors import TrainingError, UsageError
from wpack.image_files import ImageFiles, class_names, list_images
from wpack.images import Preprocess
from wpack.mixing import Mixing

BLACK, WHITE = (0, 0, 0), (255, 255, 255)


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
    files = list_images(tmp_path, classes, (4, 6))
    images, labels = files.batch(torch.arange(3), torch.Generator())

    assert ["a", "b"] == classes
    assert (3, 4, 6, 3) == images.shape
    assert [255, 0, 255] == images[:, 0, 0, 0].tolist()
    assert [0, 0, 1] == labels.tolist()


def test_hidden_folders_are_no_classes(tmp_path: Path) -> None:
    """Notebooks and file managers leave them."""
    for name in (".ipynb_checkpoints", "b"):
        picture(tmp_path / name / "1.png", (2, 2), WHITE)

    assert ["b"] == class_names(tmp_path)


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
        list_images(tmp_path, ["horse"], (2, 2))

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
        list_images(tmp_path, ["a"], (4, 4)).in_memory()

    found = str(caught.value)
    assert found.startswith(f"{tmp_path}: 2 of 3 images cannot be read: a/1.png (")
    assert "a/2.jpg (UnidentifiedImageError)" in found
    assert found.endswith(". Remove them or fetch them again")


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Six images of noise, no two of a size."""
    random = np.random.default_rng(0)
    for number in range(6):
        shape = (9 + number, 12 - number, 3)
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(path)
    return list_images(tmp_path, ["a", "b"], (5, 4))


@pytest.mark.parametrize("crop_pct", [1.0, 0.5])
def test_fit(files: ImageFiles, crop_pct: float) -> None:
    """Each image is scaled until it covers the size, and cut to its middle; of that,
    the share that is wanted."""
    found, _ = replace(files, crop_pct=crop_pct).batch(
        torch.arange(6), torch.Generator()
    )
    for path, pixels in zip(files.paths, found, strict=True):
        fitted = ImageOps.fit(Image.open(path), (4, 5), bleed=(1 - crop_pct) / 2)

        assert np.abs(np.asarray(fitted, int) - pixels.numpy()).max() <= 1


def test_in_memory(files: ImageFiles) -> None:
    """Decoded at once or for each batch, images are the same."""
    indices = torch.tensor([4, 0, 3])
    kept = files.in_memory()

    assert 6 * 5 * 4 * 3 == files.decoded_nbytes == kept.tensors[0].nbytes
    for one, other in zip(
        kept.batch(indices, torch.Generator()),
        files.batch(indices, torch.Generator()),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_take(files: ImageFiles) -> None:
    """Some of the files are a data set, too."""
    some = files.take(torch.tensor([5, 1]))
    pixels, labels = some.batch(torch.tensor([0]), torch.Generator())
    expected, _ = files.batch(torch.tensor([5]), torch.Generator())

    assert 2 == len(some)
    assert [1] == labels.tolist()
    assert torch.equal(expected, pixels)


def test_random_crops(files: ImageFiles) -> None:
    """Each is what its draws say, scaled; a batch depends on its generator alone."""
    crop = ResizedCrop()
    cropped = replace(files, crop=crop)
    indices = torch.tensor([2, 5, 0])
    found, _ = cropped.batch(indices, torch.Generator().manual_seed(3))
    again, _ = cropped.batch(indices, torch.Generator().manual_seed(3))
    other, _ = cropped.batch(indices, torch.Generator().manual_seed(4))
    draws = crop.draws(3, torch.Generator().manual_seed(3))
    for index, drawn, pixels in zip(indices.tolist(), draws, found, strict=True):
        with Image.open(files.paths[index]) as image:
            box = crop.box(drawn, image.height, image.width)
            scaled = image.resize((4, 5), Image.Resampling.BICUBIC, box)

        assert np.array_equal(np.asarray(scaled), pixels.numpy())
    assert torch.equal(found, again)
    assert not torch.equal(found, other)


def test_transform(files: ImageFiles) -> None:
    """What is decoded goes through the transform, with the same generator."""
    seen = replace(files, transform=lambda batch, generator: (batch, generator))
    generator = torch.Generator()
    (pixels, labels), given = seen.batch(torch.tensor([1]), generator)

    assert (1, 5, 4, 3) == pixels.shape
    assert [0] == labels.tolist()
    assert generator is given


@pytest.mark.parametrize("rows", [slice(0, 2), slice(2, 5), slice(5, 6)])
def test_part(files: ImageFiles, rows: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process's share of a batch is that, whatever is mixed; of all other images only
    the one before it is decoded."""
    transform = Preprocess((0.5,), (0.2,), crop=1, flip=True, mixing=Mixing(1.0))
    data = replace(files, crop=ResizedCrop(), transform=transform)
    indices = torch.tensor([4, 2, 0, 5, 1, 3])
    whole = data.batch(indices, torch.Generator().manual_seed(5))
    opened: list[Path] = []
    monkeypatch.setattr(
        Image, "open", lambda path, found=Image.open: opened.append(path) or found(path)
    )
    found = data.part(indices, torch.Generator().manual_seed(5), rows)

    for expected, own in zip(whole, found, strict=True):
        assert torch.equal(expected[rows], own)
    wanted = indices.roll(1)[rows].tolist() + indices[rows].tolist()
    assert sorted(files.paths[i] for i in set(wanted)) == sorted(opened)


def test_y11_no_pillow(files: ImageFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Pillow, the extra to install is named."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image")
    with pytest.raises(UsageError) as caught:
        files.in_memory()

    assert (
        "image files need Pillow, which is not installed. pip install 'wpack[vision]'"
    ) == str(caught.value)
