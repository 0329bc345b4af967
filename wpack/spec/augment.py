"""The ``augment`` option of image tasks: what training images go through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from ..errors import SpecError
from .mistakes import problems_of
from .problems import KeyPath, report
from .quantities import Fractional, NotNegative, Positive, Section


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"should be [least, most], not {list(pair)}")
    return pair


class ResizedCropSpec(Section):
    """A random part of the image, scaled to its size."""

    scale: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]],
        AfterValidator(_rising),
    ] = Field(default=(0.08, 1.0), description="Its share of the area: least, most")
    ratio: Annotated[tuple[Positive, Positive], AfterValidator(_rising)] = Field(
        default=(3 / 4, 4 / 3), description="Its width / height: least, most"
    )


class ColorJitterSpec(Section):
    """How much torchvision's ``ColorJitter`` changes each."""

    brightness: NotNegative = 0.0
    contrast: NotNegative = 0.0
    saturation: NotNegative = 0.0
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0


class PolicySpec(Section):
    """One of torchvision's policies and, as further keys, its class's arguments."""

    model_config = ConfigDict(extra="allow")

    name: Literal["autoaugment", "randaugment", "trivialaugment", "augmix"]

    @property
    def options(self) -> dict[str, Any]:
        """The arguments, by name."""
        return dict(self.model_extra or {})


def _switch(value: Any) -> Any:
    return ({} if value else None) if isinstance(value, bool) else value


def _jitter(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return dict.fromkeys(("brightness", "contrast", "saturation"), value)
    return value


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class AugmentSpec(Section):
    """Random changes to training images, in the order of the fields."""

    resized_crop: Annotated[ResizedCropSpec | None, BeforeValidator(_switch)] = Field(
        default=None,
        description="A random part is scaled to the image's size: true, or a mapping",
    )
    crop: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Images are moved by up to so many pixels; what comes in is black",
    )
    flip: bool = Field(default=False, description="Half of the images are mirrored")
    color_jitter: Annotated[ColorJitterSpec | None, BeforeValidator(_jitter)] = Field(
        default=None,
        description="Brightness, contrast and saturation vary by so much, or a mapping",
    )
    policy: Annotated[PolicySpec | None, BeforeValidator(_named)] = Field(
        default=None,
        description="autoaugment, randaugment, trivialaugment, augmix, or a mapping of"
        " name and options",
    )
    erase: Fractional = Field(
        default=0.0, description="Share of the images that lose a rectangle"
    )


def augment_spec(options: Mapping[str, Any], where: str) -> AugmentSpec:
    """What a task's ``augment`` says.

    Args:
        where: What messages call it.

    Raises:
        SpecError: It is wrong; every mistake is listed.
    """
    try:
        return AugmentSpec.model_validate(options)
    except ValidationError as error:
        raise SpecError(report(problems_of(error, None, where, _keys))) from None


def _keys(path: KeyPath) -> Iterable[str]:
    sections: dict[KeyPath, type[Section]] = {
        (): AugmentSpec,
        ("resized_crop",): ResizedCropSpec,
        ("color_jitter",): ColorJitterSpec,
    }
    return sections[path].model_fields
