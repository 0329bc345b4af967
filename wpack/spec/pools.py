"""One pool of a spec, by its technique."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    WrapValidator,
    create_model,
    field_validator,
    model_validator,
)

from .. import techniques
from ..chain import Chain
from ..techniques import Technique
from ..tensors import BY_NAME
from .coding import Codecs
from .mistakes import closest, unknown, whole
from .patterns import Pattern
from .problems import shown
from .quantities import Bytes, Section, Weights

#: Names of the dtypes that a pool may be stored in.
POOL_DTYPES = tuple(d.name for d in BY_NAME.values() if d.poolable)
DEFAULT_TECHNIQUE = "global"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "should be a name of at most 64 letters, digits, _ and -, not"
            f" {shown(name)}"
        )
    return name


def _check_pattern(text: str) -> str:
    Pattern.parse(text)
    return text


def _check_whole(text: str) -> str:
    if Pattern.parse(text).part:
        raise ValueError(f"should name whole tensors, {shown(text)} names a part")
    return text


#: Of a pool or a part.
Name = Annotated[str, AfterValidator(_check_name)]
TensorPattern = Annotated[str, AfterValidator(_check_pattern)]
WholePattern = Annotated[str, AfterValidator(_check_whole)]


class PoolSpec(Section):
    """One pool: the tensors it makes, its size, and its technique's own fields, which
    :func:`pool_model` adds."""

    technique: str = Field(
        default=DEFAULT_TECHNIQUE,
        description="How a range of the pool becomes working weights",
    )
    tensors: tuple[TensorPattern, ...] = Field(
        min_length=1,
        description="Patterns over tensor names: globs, re:regex, either with #part",
    )
    ratio: Annotated[float, Field(ge=1)] | None = Field(
        default=None, description="Working weights for each backing weight"
    )
    size: Weights | None = Field(default=None, description="Backing weights, as 1.5M")
    bytes: Bytes | None = Field(
        default=None,
        validate_default=True,
        description="Bytes of backing weights, as 4MiB",
    )
    dtype: str | None = Field(
        default=None,
        description="Storage type; null: the tensors' own",
        json_schema_extra={"enum": [*POOL_DTYPES, None]},
    )
    codecs: Codecs = Field(
        default=(),
        description="How its values are stored, in order: prune, then one that"
        " quantises, then zstd; none stores them as they are",
    )
    repair: Literal["none", "rms"] | None = Field(
        default=None,
        description="What follows the projection: rms scales the pool back to the"
        " weights' root mean square; null: none to compress, rms to fine-tune",
    )

    projection: Literal["mean", "fisher"] = Field(
        default="mean",
        description="What of the weights that read one backing weight it is made of:"
        " fisher weights them by what an error in each costs, measured on the task;"
        " techniques of products have no mean, but their least squares",
    )

    @field_validator("technique", mode="before")
    @classmethod
    def _check_technique(cls, name: Any) -> Any:
        if name not in techniques.names():
            raise ValueError(unknown("technique", name, techniques.names()))
        return name

    @field_validator("bytes")
    @classmethod
    def _check_one_size(cls, nbytes: int | None, info: ValidationInfo) -> int | None:
        sizes = {key: info.data[key] for key in ("ratio", "size") if key in info.data}
        given: list[str] = [key for key, value in sizes.items() if value is not None]
        given += ["bytes"] if nbytes is not None else []
        if len(sizes) == 2 and len(given) != 1:
            has = " and ".join(given) or "none"
            raise whole(f"needs exactly one of ratio, size and bytes, has {has}")
        return nbytes

    @field_validator("dtype")
    @classmethod
    def _check_dtype(cls, dtype: str | None) -> str | None:
        if dtype is not None and dtype not in POOL_DTYPES:
            raise ValueError(unknown("pool dtype", dtype, POOL_DTYPES))
        return dtype

    @model_validator(mode="after")
    def _check_options(self) -> PoolSpec:
        technique = self.make_technique()
        if self.projection == "fisher" and not technique.takes_mean:
            raise ValueError(
                "projection: fisher weights a mean, and this technique takes none"
            )
        return self

    @property
    def chain(self) -> Chain:
        """The codecs, in order."""
        return Chain(self.codecs)

    def make_technique(self) -> Technique:
        """The technique with this pool's own keys as its fields."""
        technique = techniques.named(self.technique)
        names = {f.name for f in dataclasses.fields(technique)}
        own = names & type(self).model_fields.keys()
        return technique(**{name: getattr(self, name) for name in sorted(own)})


@cache
def pool_model(technique: str) -> type[PoolSpec]:
    """The model of a pool with this technique: :class:`PoolSpec` and the fields of the
    technique's dataclass."""
    defined = techniques.named(technique)
    hints = typing.get_type_hints(defined, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], Field(default=default))
        for name, default in defined().fields().items()
    }
    default = technique if technique == DEFAULT_TECHNIQUE else ...
    fields["technique"] = (
        str,
        Field(
            default,
            description=PoolSpec.model_fields["technique"].description,
            json_schema_extra={"const": technique},
        ),
    )
    return create_model(
        f"{defined.__name__}Pool", __base__=PoolSpec, __doc__=defined.__doc__, **fields
    )


def model_of_pool(values: Any) -> type[PoolSpec]:
    """The model for a pool's mapping: its technique's, or the closest one's;
    :class:`PoolSpec` where none is close."""
    name = values.get("technique", DEFAULT_TECHNIQUE)
    close = closest(name, techniques.names())
    return pool_model(close) if close else PoolSpec


def _pool(values: Any, handler: Any) -> Any:
    if isinstance(values, PoolSpec):
        values = values.model_dump()
    if not isinstance(values, Mapping):
        return handler(values)
    model = model_of_pool(values)
    if model is PoolSpec:
        # Which further keys are right depends on a technique that nobody knows.
        values = {k: v for k, v in values.items() if k in PoolSpec.model_fields}
    return model.model_validate(values)


#: A pool by its technique.
AnyPool = Annotated[SerializeAsAny[PoolSpec], WrapValidator(_pool)]
