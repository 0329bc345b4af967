"""The kinds of values a spec is made of, and the model they are fields of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .problems import shown

#: No count of weights, steps or bytes in a spec is larger.
MAX_COUNT = 10**15

_GROUPED = re.compile(r"[0-9]+(?:_[0-9]+)+")
_QUANTITY = re.compile(r"([0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?) ?([A-Za-z]*)")
_WEIGHTS = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_BYTES = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}


class Section(BaseModel):
    """A mapping of the spec: frozen, with no other keys than its fields, and with no
    conversions (``"3"`` is no number, ``true`` is no 1)."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _freeze_lists(cls, values: Any) -> Any:
        return frozen(values)


def frozen(value: Any) -> Any:
    """The value with tuples for lists, all the way down."""
    if isinstance(value, list | tuple):
        return tuple(frozen(item) for item in value)
    if isinstance(value, Mapping):
        return {key: frozen(item) for key, item in value.items()}
    return value


def _count(value: Any) -> Any:
    if isinstance(value, str) and len(value) < 40 and _GROUPED.fullmatch(value):
        return int(value.replace("_", ""))
    return value


def _weights(value: Any) -> Any:
    return _quantity(value, _WEIGHTS, "1_000_000, 64k or 1.5M")


def _bytes(value: Any) -> Any:
    return _quantity(value, _BYTES, "64KiB, 4MiB or 1.5GB")


def _quantity(value: Any, units: Mapping[str, int], examples: str) -> Any:
    """A number with a unit, exactly; anything but text as it is."""
    if not isinstance(value, str):
        return value
    found = _QUANTITY.fullmatch(value) if len(value) < 40 else None
    if found is None or (found[2] and found[2] not in units):
        raise ValueError(f"should be a size such as {examples}, not {shown(value)}")
    exact = Fraction(found[1].replace("_", "")) * units.get(found[2], 1)
    if exact.denominator != 1:
        raise ValueError(f"should be a whole number of units, {shown(value)} is not")
    return int(exact)


def _text_or_int(units: str) -> Any:
    """For the JSON Schema: what may stand where an integer is meant."""
    pattern = rf"^[0-9_]+(\.[0-9]+)? ?({units})?$"
    return Annotated[int, Field(ge=1)] | Annotated[str, Field(pattern=pattern)]


#: A whole number from 1; ``1_000`` is one.
Count = Annotated[
    int,
    Field(ge=1, le=MAX_COUNT),
    BeforeValidator(
        _count,
        json_schema_input_type=Annotated[int, Field(ge=1)]
        | Annotated[str, Field(pattern=f"^{_GROUPED.pattern}$")],
    ),
]
#: A number of weights: ``1_000_000``, ``1.5M``.
Weights = Annotated[
    int,
    Field(ge=1, le=MAX_COUNT),
    BeforeValidator(_weights, json_schema_input_type=_text_or_int("[kKMG]")),
]
#: A number of bytes: ``4MiB``.
Bytes = Annotated[
    int,
    Field(ge=1, le=MAX_COUNT),
    BeforeValidator(_bytes, json_schema_input_type=_text_or_int("[kKMG]?B|[KMG]iB")),
]
#: A number above 0.
Positive = Annotated[float, Field(gt=0)]
#: A number from 0.
NotNegative = Annotated[float, Field(ge=0)]
#: A number from 0 to 1.
Fractional = Annotated[float, Field(ge=0, le=1)]
#: A number from 0, below 1.
BelowOne = Annotated[float, Field(ge=0, lt=1)]
