"""The pool spec as values: which tensors are pooled, how small, and how to train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainValidator, PrivateAttr, TypeAdapter
from pydantic.json_schema import models_json_schema

from .. import codecs, techniques
from . import scalars
from .coding import OneOrMoreCodecs, codec_fields, item_model
from .distilling import DistillSpec, HintsSpec
from .mistakes import place_of
from .nodes import Node
from .pools import AnyPool, Name, WholePattern, model_of_pool, pool_model
from .problems import KeyPath, Place, Problem
from .quantities import Count, Section, frozen
from .recipe import (
    FinetuneSpec,
    FisherSpec,
    ScheduleSpec,
    optimizer_model,
)

_EQUAL_PARTS = Annotated[tuple[Name, ...], Field(min_length=2)]
_PARTS_BY_ROWS = Annotated[dict[Name, Count], Field(min_length=2)]
_equal_parts = TypeAdapter(_EQUAL_PARTS, config=Section.model_config)
_parts_by_rows = TypeAdapter(_PARTS_BY_ROWS, config=Section.model_config)


def _parts(value: Any) -> tuple[str, ...] | dict[str, int]:
    if isinstance(value, Mapping):
        return _parts_by_rows.validate_python(value)
    names = _equal_parts.validate_python(frozen(value))
    if len(set(names)) < len(names):
        raise ValueError("names a part twice")
    return names


#: Names of the equal parts that a tensor is cut into along dim 0, or rows by name.
Parts = Annotated[
    tuple[str, ...] | dict[str, int],
    PlainValidator(_parts, json_schema_input_type=_EQUAL_PARTS | _PARTS_BY_ROWS),
]


class Spec(Section):
    """A pool spec.

    To change one, parse its :attr:`text` with overrides.
    """

    version: Literal[1] = Field(description="Of this file's grammar")
    split: dict[WholePattern, Parts] = Field(
        default={},
        description="Pattern → the parts its tensors are cut into along dim 0: a list"
        " of names for equal parts, or name → rows",
    )
    pools: dict[Name, AnyPool] = Field(min_length=1, description="Pools by name")
    keep: tuple[WholePattern, ...] = Field(
        default=(),
        description="Tensors never pooled, even if a pattern matches; those of rank"
        " below 2 are kept unless a pool names one by its full name",
    )
    keep_codecs: dict[WholePattern, OneOrMoreCodecs] = Field(
        default={},
        description="Pattern → how the kept tensors that it matches are stored, all"
        " together, as a pool's codecs",
    )
    finetune: FinetuneSpec | None = Field(default=None, description="How to train")

    _root: Node | None = PrivateAttr(None)
    _source: str = PrivateAttr("<spec>")
    _text: str | None = PrivateAttr(None)
    _folder: Path = PrivateAttr(Path("."))

    @property
    def text(self) -> str:
        """YAML that parses to an equal spec: what this one was read from, comments
        included, or canonical text where there was none or overrides changed it."""
        if self._text is None:
            return scalars.dump(self.model_dump(exclude_defaults=True))
        return self._text

    @property
    def folder(self) -> Path:
        """Where the paths in the spec start: its file's folder, or the current one."""
        return self._folder

    def beside(self, path: str) -> Path:
        """A path that the spec names, as seen from the current folder."""
        return self._folder / path

    def problem(self, path: KeyPath, what: str) -> Problem:
        """A mistake in the value at ``path``, such as ``("pools", "main")``, that
        shows only against a checkpoint; ``str()`` of it fits a SpecError."""
        place = place_of(self._root, path, self._source)
        return Problem(place or Place(0, 0, 0, self._source), path, what)

    def __eq__(self, other: object) -> bool:
        """Whether the fields are equal; where they were written does not count."""
        if not isinstance(other, Spec):
            return NotImplemented
        return self.__dict__ == other.__dict__


def keys_at(path: KeyPath, values: Any) -> list[str]:
    """The keys that the mapping at ``path`` of a spec may have.

    Args:
        values: The mapping itself.
    """
    if len(path) == 2 and path[0] == "pools":
        return list(model_of_pool(values).model_fields)
    if len(path) > 1 and (path[0] == "keep_codecs" or path[2:3] == ("codecs",)):
        return codec_fields(path[-1])
    sections: dict[KeyPath, type[Section]] = {
        (): Spec,
        ("finetune",): FinetuneSpec,
        ("finetune", "optimizer"): optimizer_model(values),
        ("finetune", "schedule"): ScheduleSpec,
        ("finetune", "distill"): DistillSpec,
        ("finetune", "distill", "hints"): HintsSpec,
        ("finetune", "fisher"): FisherSpec,
    }
    return list(sections.get(path, Section).model_fields)


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a spec's file, techniques' and codecs' fields
    included, for editors to complete and check by."""
    pools = [pool_model(name) for name in techniques.names()]
    by_name = [item_model(name) for name in codecs.names()]
    models: list[type[BaseModel]] = [Spec, *pools, *by_name]
    refs, document = models_json_schema(
        [(model, "validation") for model in models],
        title="wpack pool spec",
    )
    spec = document["$defs"][refs[Spec, "validation"]["$ref"].rpartition("/")[2]]
    spec["properties"]["pools"]["additionalProperties"] = {
        "anyOf": [refs[pool, "validation"] for pool in pools]
    }
    codec = [{"enum": codecs.names()}, *(refs[m, "validation"] for m in by_name)]
    chains = [spec["properties"]["keep_codecs"]["additionalProperties"]]
    for pool in pools:
        of_pool = document["$defs"][refs[pool, "validation"]["$ref"].rpartition("/")[2]]
        chains.append(of_pool["properties"]["codecs"])
    for chain in chains:
        chain["items"] = {"anyOf": codec}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **refs[Spec, "validation"],
        **document,
    }
