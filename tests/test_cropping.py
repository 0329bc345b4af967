"""Random parts of images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from wpack.cropping import TRIES, ResizedCrop, middle


def test_boxes_lie_inside() -> None:
    """Every box is in its image, of an allowed area and ratio, up to whole pixels."""
    crop = ResizedCrop((0.2, 0.6), (0.5, 2.0))
    draws = crop.draws(500, torch.Generator().manual_seed(0))
    boxes = np.array([crop.box(drawn, 80, 120) for drawn in draws])
    left, top, right, bottom = boxes.T
    areas = (right - left) * (bottom - top) / (80 * 120)
    ratios = (right - left) / (bottom - top)

    assert (500, TRIES, 4) == draws.shape
    assert boxes.min() >= 0
    assert right.max() <= 120
    assert bottom.max() <= 80
    assert 0.2 == pytest.approx(areas.min(), abs=0.02)
    assert 0.6 == pytest.approx(areas.max(), abs=0.02)
    assert 0.5 == pytest.approx(ratios.min(), abs=0.03)
    assert 2.0 == pytest.approx(ratios.max(), abs=0.06)
    assert 0 == left.min() == top.min()
    assert (120, 80) == (right.max(), bottom.max())


def test_distribution_is_torchvisions() -> None:
    """Sides have the means of what torchvision's draws have for the same image."""
    transforms = pytest.importorskip(
        "torchvision.transforms.v2", reason="the extra vision is not installed"
    )
    crop, image = ResizedCrop(), torch.zeros(3, 60, 100)
    drawn = crop.draws(4000, torch.Generator().manual_seed(0))
    boxes = np.array([crop.box(draws, 60, 100) for draws in drawn])
    torch.manual_seed(0)
    theirs = transforms.RandomResizedCrop(10)
    params = [theirs.make_params([image]) for _ in range(4000)]
    expected = np.array(
        [[p["left"], p["top"], p["width"], p["height"]] for p in params]
    )
    found = np.stack([*boxes.T[:2], *(boxes.T[2:] - boxes.T[:2])], axis=1)

    assert np.allclose(expected.mean(0), found.mean(0), rtol=0.03, atol=0.5)
    assert np.allclose(expected.std(0), found.std(0), rtol=0.05, atol=0.5)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (10, 100, (43, 0, 57, 10)),
        (100, 10, (0, 43, 10, 57)),
        (10, 12, (0, 0, 12, 10)),
    ],
)
def test_middle_where_nothing_fits(
    height: int, width: int, expected: tuple[int, ...]
) -> None:
    """Where none of the tries fits, the middle is taken, of the nearest ratio."""
    crop = ResizedCrop((1.0, 1.0), (0.7, 1.4))
    draws = np.full((TRIES, 4), 1.0)

    assert expected == pytest.approx(crop.box(draws, height, width), abs=0.2)


def test_images_in_memory() -> None:
    """Each image of a batch is cut as its draws say and scaled back."""
    crop = ResizedCrop((0.3, 0.9))
    images = torch.randint(0, 256, (6, 9, 7, 3), dtype=torch.uint8)
    found = crop(images, torch.Generator().manual_seed(2))
    draws = crop.draws(6, torch.Generator().manual_seed(2))
    for image, drawn, seen in zip(images, draws, found, strict=True):
        left, top, right, bottom = map(int, crop.box(drawn, 9, 7))
        part = image[top:bottom, left:right].permute(2, 0, 1).unsqueeze(0)
        scaled = functional.interpolate(
            part.float(), (9, 7), mode="bilinear", antialias=True
        )

        expected = scaled[0].permute(1, 2, 0)
        assert torch.allclose(expected, seen.float(), atol=1.5)


def test_whole_image() -> None:
    """The middle with the image's own ratio is the image; a share of it is centred."""
    assert (0, 0, 8, 4) == middle(4, 8, 2.0)
    assert (2, 0, 6, 4) == middle(4, 8, 1.0)
    assert (3, 1, 5, 3) == middle(4, 8, 1.0, 0.5)
