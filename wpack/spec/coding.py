"""The codecs of a pool or a kept tensor, as a spec writes them.

A list; each item is a codec's name, or a mapping of its name to its first field's value
or to its fields: ``[prune: 0.9, int: {bits: 4, block: 32}, zstd]``.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    PlainValidator,
    create_model,
    model_validator,
)

from .. import codecs
from ..chain import Chain
from ..codecs import Codec
from .mistakes import closest, unknown
from .problems import shown
from .quantities import Section


class _Fields(Section):
    """The fields of a codec, which :func:`fields_model` adds."""

    _codec: typing.ClassVar[type[Codec]]

    @model_validator(mode="after")
    def _check_codec(self) -> _Fields:
        self.make()
        return self

    def make(self) -> Codec:
        """The codec with these fields."""
        return self._codec(**{name: getattr(self, name) for name in self.given})

    @property
    def given(self) -> list[str]:
        """The names of the fields."""
        return [field.name for field in dataclasses.fields(self._codec)]


@cache
def fields_model(name: str) -> type[_Fields]:
    """The model of a codec's fields."""
    codec = codecs.named(name)
    hints = typing.get_type_hints(codec, include_extras=True)
    fields: dict[str, Any] = {
        field: (hints[field], Field(default=default))
        for field, default in codec().fields().items()
    }
    model = create_model(
        f"{codec.__name__}Fields", __base__=_Fields, __doc__=codec.__doc__, **fields
    )
    model._codec = codec
    return model


@cache
def item_model(name: str) -> type[BaseModel]:
    """The model of ``{name: …}``: its fields, or the value of the first."""
    model = fields_model(name)
    first = next(iter(model.model_fields), None)

    def filled(value: Any) -> Any:
        if value is None or isinstance(value, Mapping):
            return value or {}
        if first is None:
            raise ValueError(f"takes no value, not {shown(value)}")
        return {first: value}

    allowed: Any = model | None
    if first is not None:
        allowed |= model.model_fields[first].annotation
    checked = PlainValidator(
        lambda value: model.model_validate(filled(value)),
        json_schema_input_type=allowed,
    )
    codec = codecs.named(name)
    first_line = (codec.__doc__ or "").partition("\n")[0]
    field = Annotated[_Fields, checked, Field(description=first_line)]
    fields: dict[str, Any] = {name: (field, ...)}
    title = f"{codec.__name__}Codec"
    return create_model(title, __base__=Section, __doc__=codec.__doc__, **fields)


def codec_fields(name: Any) -> list[str]:
    """The fields of a codec, or of the one whose name is closest."""
    close = closest(name, codecs.names())
    return list(fields_model(close).model_fields) if close else []


def _codec(value: Any) -> Codec:
    if isinstance(value, Codec):
        return value
    if isinstance(value, str):
        value = {value: None}
    if not isinstance(value, Mapping):
        raise ValueError(
            f"should be a codec's name or {{name: value}}, not {shown(value)}"
        )
    if len(value) != 1:
        raise ValueError(
            f"should be one codec, has {len(value)} keys; a codec's fields stand in a"
            " mapping under its name"
        )
    ((name, _),) = value.items()
    if name not in codecs.names():
        raise ValueError(unknown("codec", name, codecs.names()))
    made: _Fields = getattr(item_model(name).model_validate(value), name)
    return made.make()


def _written(codec: Codec) -> str | dict[str, Any]:
    """As :func:`_codec` reads it."""
    options = codec.options()
    return {codec.name: options} if options else codec.name


def _check_chain(found: tuple[Codec, ...]) -> tuple[Codec, ...]:
    Chain(found)
    return found


_Item = Annotated[
    Codec,
    PlainValidator(_codec, json_schema_input_type=str | dict[str, Any]),
    PlainSerializer(_written),
]
#: The codecs of a chain, in order.
Codecs = Annotated[tuple[_Item, ...], AfterValidator(_check_chain)]
OneOrMoreCodecs = Annotated[
    tuple[_Item, ...], Field(min_length=1), AfterValidator(_check_chain)
]
