"""The ``augment`` option of image tasks."""

from __future__ import annotations

from typing import Any

import pytest

from wpack.errors import SpecError
from wpack.spec.augment import (
    AugmentSpec,
    ColorJitterSpec,
    PolicySpec,
    ResizedCropSpec,
    augment_spec,
)


def test_short_spellings() -> None:
    """A switch, a number and a name stand for mappings."""
    found = augment_spec(
        {"resized_crop": True, "color_jitter": 0.4, "policy": "augmix"}, "augment"
    )

    jitter = ColorJitterSpec(brightness=0.4, contrast=0.4, saturation=0.4)
    assert ResizedCropSpec() == found.resized_crop
    assert jitter == found.color_jitter
    assert PolicySpec(name="augmix") == found.policy
    assert AugmentSpec() == augment_spec({"resized_crop": False}, "augment")


def test_mappings() -> None:
    """Whole mappings are taken as they are; a policy's options go to torchvision."""
    found = augment_spec(
        {
            "resized_crop": {"scale": [0.5, 1]},
            "color_jitter": {"hue": 0.1},
            "policy": {"name": "randaugment", "magnitude": 9},
        },
        "augment",
    )

    assert ResizedCropSpec(scale=(0.5, 1.0)) == found.resized_crop
    assert ColorJitterSpec(hue=0.1) == found.color_jitter
    assert found.policy is not None
    assert {"magnitude": 9} == found.policy.options


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"flipp": True}, "flipp: unknown key 'flipp', did you mean 'flip'?"),
        ({"crop": -1}, "crop: should be 0 or more, not -1"),
        ({"erase": 2}, "erase: should be 1 or less, not 2"),
        (
            {"resized_crop": {"size": 3}},
            "resized_crop.size: unknown key 'size' (known: scale, ratio)",
        ),
        (
            {"resized_crop": {"scale": [0.9, 0.1]}},
            "resized_crop.scale: should be [least, most], not [0.9, 0.1]",
        ),
        (
            {"resized_crop": 3},
            "resized_crop: should be a mapping of keys to values, not 3",
        ),
        (
            {"color_jitter": True},
            "color_jitter: should be a mapping of keys to values, not true",
        ),
        (
            {"policy": "best"},
            "policy.name: should be 'autoaugment', 'randaugment', 'trivialaugment' or"
            " 'augmix', not 'best'",
        ),
    ],
)
def test_mistakes(options: dict[str, Any], expected: str) -> None:
    """Each is told by its place."""
    with pytest.raises(SpecError) as caught:
        augment_spec(options, "augment")

    assert (f"augment: {expected}",) == caught.value.problems


def test_all_mistakes_at_once() -> None:
    """As in a spec's other sections."""
    with pytest.raises(SpecError) as caught:
        augment_spec({"crop": "x", "flip": 1}, "augment")

    assert 2 == len(caught.value.problems)
