"""The ``finetune.distill`` section of a spec: what a student learns from a teacher."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationInfo,
    field_validator,
)

from .mistakes import whole
from .patterns import Pattern
from .problems import shown
from .quantities import Bytes, Fractional, Positive, Section


def _check_module(text: str) -> str:
    if Pattern.parse(text).part:
        raise ValueError(f"should name modules, {shown(text)} names a part of a tensor")
    return text


_nbytes: TypeAdapter[int] = TypeAdapter(Bytes, config=Section.model_config)

#: What ``teacher`` says for the task's own.
TASK = "task"


class HintsSpec(Section):
    """Learning what modules inside the teacher put out, too."""

    modules: tuple[Annotated[str, AfterValidator(_check_module)], ...] = Field(
        min_length=1,
        description="Patterns over names of modules: globs, re:regex; of modules that"
        " a pattern matches inside each other, the outermost",
    )
    weight: Positive = Field(
        default=1.0, description="The mean hint's weight; it is added to the loss"
    )
    anneal: bool = Field(
        default=True,
        description="Whether the weight falls to zero over the run, as half a cosine",
    )


def _cache(value: Any) -> bool | int:
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | str):
        raise ValueError(f"should be true, false or a size, not {shown(value)}")
    return _nbytes.validate_python(value)


class DistillSpec(Section):
    """Learning from a teacher: (1 - w)·task + w·T²·KL(teacher/T ‖ student/T), and
    hints."""

    weight: Fractional = Field(
        default=0.9, description="The teacher's share of the loss"
    )
    temperature: Positive = Field(
        default=4.0, description="T, softens both distributions"
    )
    teacher: str | None = Field(
        default=None,
        description="Path of the teacher's weights (./task for a file of that name), or"
        " task: what the task's teacher() gives; null: the checkpoint compressed",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Arithmetic of the teacher, whose matrices are cast to it once;"
        " auto: as the student's",
    )
    hints: HintsSpec | None = Field(
        default=None,
        description="Modules whose outputs are to be the teacher's; null: none",
    )
    cache: Annotated[
        bool | int, PlainValidator(_cache, json_schema_input_type=bool | Bytes)
    ] = Field(
        default=False,
        description="Whether the teacher's logits are computed once for each example"
        " and kept in memory; for data without augmentation. A size, as 8GiB, is the"
        " most they may take; true: 4GiB",
    )

    @field_validator("cache")
    @classmethod
    def _check_cache(cls, cache: bool | int, info: ValidationInfo) -> bool | int:
        if cache and info.data.get("hints") is not None:
            raise whole("has both hints and a cache, which keeps logits alone")
        return cache
