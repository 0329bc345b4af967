"""What training images go through."""

from __future__ import annotations

import sys
import types
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from wpack.augmentation import changed, colour_changes, erasing_changes, moved
from wpack.errors import UsageError
from wpack.spec.augment import augment_spec


@pytest.mark.parametrize(("crop", "flip"), [(0, True), (2, False), (3, True)])
def test_moved_against_slicing(crop: int, flip: bool) -> None:
    """One gather does what cutting and mirroring one image at a time does."""
    images = torch.from_numpy(
        (np.arange(16 * 5 * 7 * 2) % 255 + 1).astype(np.uint8).reshape(16, 5, 7, 2)
    )
    found = moved(images, crop, flip, torch.Generator().manual_seed(3))
    again = torch.Generator().manual_seed(3)
    top, left = torch.randint(0, 2 * crop + 1, (2, 16, 1), generator=again)
    mirrored = torch.rand(16, 1, generator=again) < 0.5

    black = np.pad(images.numpy(), ((0, 0), (crop, crop), (crop, crop), (0, 0)))
    for i, image in enumerate(found.numpy()):
        cut = black[i, top[i, 0] : top[i, 0] + 5, left[i, 0] : left[i, 0] + 7]
        expected = cut[:, ::-1] if flip and mirrored[i, 0] else cut
        assert expected.tolist() == image.tolist()


def test_moved_uses_its_range() -> None:
    """All moves come up, and about half of the images are mirrored."""
    images = torch.zeros(4000, 1, 3, 1, dtype=torch.uint8)
    images[:, 0, 0] = 1
    flipped = moved(images, 0, True, torch.Generator().manual_seed(0))
    shifted = moved(images, 1, False, torch.Generator().manual_seed(0))

    assert 2000 == pytest.approx(int(flipped[:, 0, 2].sum()), abs=150)
    assert {(1, 0, 0), (0, 1, 0), (0, 0, 0)} == {
        tuple(image) for image in shifted[:, 0, :, 0].tolist()
    }


def test_changed_one_by_one() -> None:
    """Every image has draws of its own, all from the generator; changes follow one
    another."""
    images = torch.zeros(5, 3, 2, 2)

    def brighter(image: Tensor) -> Tensor:
        return image + torch.rand(())

    def negative(image: Tensor) -> Tensor:
        return -image

    def run(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return changed(images, [brighter, negative], generator)

    first = run(0)

    assert 5 == len(set(first[:, 0, 0, 0].tolist()))
    assert -1 < float(first.min()) <= float(first.max()) < 0
    assert torch.equal(first, run(0))
    assert not torch.equal(first, run(1))


class Recorded:
    """Stands for any transform of torchvision's."""

    def __init__(self, **options: Any) -> None:
        if "num_opps" in options:
            raise TypeError("got an unexpected keyword argument 'num_opps'")
        self.options = options


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for torchvision, which takes seconds to import."""
    v2 = types.ModuleType("torchvision.transforms.v2")
    for name in ("ColorJitter", "RandAugment", "TrivialAugmentWide", "RandomErasing"):
        setattr(v2, name, type(name, (Recorded,), {}))
    for module in ("torchvision", "torchvision.transforms"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    monkeypatch.setitem(sys.modules, v2.__name__, v2)
    return v2


@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("options", "colours", "erasing"),
    [
        ({"crop": 4, "flip": True, "resized_crop": True}, {}, {}),
        (
            {"color_jitter": 0.4},
            {
                "ColorJitter": {
                    "brightness": 0.4,
                    "contrast": 0.4,
                    "saturation": 0.4,
                    "hue": 0.0,
                }
            },
            {},
        ),
        (
            {"policy": {"name": "randaugment", "magnitude": 7}},
            {"RandAugment": {"magnitude": 7}},
            {},
        ),
        (
            {"policy": "trivialaugment", "erase": 0.25},
            {"TrivialAugmentWide": {}},
            {"RandomErasing": {"p": 0.25}},
        ),
    ],
)
def test_torchvision_is_asked(
    options: dict[str, Any], colours: dict[str, Any], erasing: dict[str, Any]
) -> None:
    """Each option is the transform of that name, with its arguments."""
    spec = augment_spec(options, "augment")
    found: list[Any] = colour_changes(spec)
    last: list[Any] = erasing_changes(spec)

    assert colours == {type(change).__name__: change.options for change in found}
    assert erasing == {type(change).__name__: change.options for change in last}


@pytest.mark.usefixtures("torchvision")
def test_y11_wrong_arguments() -> None:
    """What torchvision refuses is told by the option's name."""
    options = {"policy": {"name": "randaugment", "num_opps": 7}}
    with pytest.raises(UsageError) as caught:
        colour_changes(augment_spec(options, "augment"))

    assert ("augment: policy: got an unexpected keyword argument 'num_opps'") == str(
        caught.value
    )


def test_y11_no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchvision, the extra to install is named."""
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(UsageError) as caught:
        erasing_changes(augment_spec({"erase": 0.5}, "augment"))

    assert (
        "augment: erase: needs torchvision, which is not installed. pip install"
        " 'wpack[vision]'"
    ) == str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"color_jitter": {"brightness": 0.9, "hue": 0.1}},
        {"policy": "autoaugment"},
        {"policy": {"name": "randaugment", "num_ops": 3, "magnitude": 12}},
        {"policy": "trivialaugment"},
        {"policy": "augmix"},
    ],
)
def test_real_colours(options: dict[str, Any]) -> None:
    """torchvision's own transforms take an image, change it, and draw from torch."""
    pytest.importorskip("torchvision", reason="the extra vision is not installed")
    changes = colour_changes(augment_spec(options, "augment"))
    images = torch.arange(8 * 3 * 16 * 16).view(8, 3, 16, 16).to(torch.uint8)
    found = changed(images, changes, torch.Generator().manual_seed(0))

    assert images.dtype == found.dtype
    assert not torch.equal(images, found)
    assert torch.equal(
        found, changed(images, changes, torch.Generator().manual_seed(0))
    )


def test_real_erasing() -> None:
    """About as many images as wanted have a rectangle of zeros."""
    pytest.importorskip("torchvision", reason="the extra vision is not installed")
    changes = erasing_changes(augment_spec({"erase": 0.5}, "augment"))
    found = changed(torch.ones(200, 1, 8, 8), changes, torch.Generator().manual_seed(0))

    assert 100 == pytest.approx(int((found.amin(dim=(1, 2, 3)) == 0).sum()), abs=25)
