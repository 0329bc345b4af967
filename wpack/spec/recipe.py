"""The ``finetune`` section of a spec: what to train on, how long, and how."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)

from .distilling import DistillSpec
from .mistakes import closest, unknown, whole
from .problems import shown
from .quantities import BelowOne, Count, NotNegative, Positive, Section

#: Epochs of a recipe that says neither epochs nor steps.
DEFAULT_EPOCHS = 10

_REFERENCE = re.compile(r"(?:.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):[^\W\d]\w*(?:\.\w+)*")


class TaskSpec(Section):
    """What to train on: the task's name and, as further keys, its options."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(
        min_length=1,
        description="A built-in task, or module:attribute, or ./file.py:attribute",
    )

    @field_validator("name")
    @classmethod
    def _check_reference(cls, name: str) -> str:
        if ":" in name and not _REFERENCE.fullmatch(name):
            raise ValueError(
                "should be a built-in task's name, module:attribute or"
                f" ./file.py:attribute, not {shown(name)}"
            )
        return name

    @property
    def options(self) -> dict[str, Any]:
        """The task's options, by name; sequences are tuples."""
        return dict(self.model_extra or {})


def _fused(value: Any) -> bool | Literal["auto"]:
    if isinstance(value, bool):
        return value
    if value != "auto":
        raise ValueError(f"should be true, false or 'auto', not {shown(value)}")
    return "auto"


Fused = Annotated[
    bool | Literal["auto"],
    PlainValidator(_fused, json_schema_input_type=bool | Literal["auto"]),
    Field(description="Step all weights in one pass; auto: where torch can"),
]


class _Optimizer(Section):
    """What all optimisers have: a name there is."""

    @field_validator("name", mode="before", check_fields=False)
    @classmethod
    def _check_name(cls, name: Any) -> Any:
        # A list or a mapping is in no dict, and cannot be asked for.
        if not isinstance(name, str) or name not in OPTIMIZERS:
            raise ValueError(unknown("optimizer", name, OPTIMIZERS))
        return name


class AdamWSpec(_Optimizer):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = Field(default="adamw", description="The optimiser")
    lr: Positive = Field(default=1e-3, description="Learning rate at its height")
    weight_decay: NotNegative = Field(
        default=0.05, description="Decay of backing weights and of kept matrices"
    )
    betas: tuple[BelowOne, BelowOne] = Field(
        default=(0.9, 0.999),
        description="Decay of the running means of gradient and square",
    )
    fused: Fused = "auto"


class SGDSpec(_Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = Field(description="The optimiser")
    lr: Positive = Field(default=0.05, description="Learning rate at its height")
    weight_decay: NotNegative = Field(
        default=5e-4, description="Decay of backing weights and of kept matrices"
    )
    momentum: BelowOne = Field(
        default=0.9, description="Share of the last step that goes on"
    )
    nesterov: bool = Field(default=False, description="Nesterov's momentum")
    fused: Fused = "auto"


OPTIMIZERS: dict[str, type[AdamWSpec | SGDSpec]] = {
    "adamw": AdamWSpec,
    "sgd": SGDSpec,
}


def optimizer_model(values: Any) -> type[AdamWSpec | SGDSpec]:
    """The model for an ``optimizer`` mapping: its ``name``'s, or the closest."""
    name = values.get("name") if isinstance(values, Mapping) else None
    return OPTIMIZERS[closest(name, OPTIMIZERS) or "adamw"]


def _optimizer(values: Any) -> AdamWSpec | SGDSpec:
    if isinstance(values, AdamWSpec | SGDSpec):
        return values
    return optimizer_model(values).model_validate(values)


def _warmup(value: Any) -> int | float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    limit = 1 if isinstance(value, float) else 10**15
    if not is_number or not 0 <= value <= limit:
        raise ValueError(
            "should be a fraction of the steps from 0.0 to 1.0, or a whole number of"
            f" steps, not {shown(value)}"
        )
    number: int | float = value
    return number


class ScheduleSpec(Section):
    """The learning rate over the steps."""

    name: Literal["cosine", "linear", "constant"] = Field(
        default="cosine",
        description="Its shape after the warm-up; the first two end at zero",
    )
    warmup: Annotated[
        int | float,
        PlainValidator(_warmup, json_schema_input_type=int | float),
        Field(
            description="Steps of linear warm-up: a whole number, or with a decimal"
            " point the fraction of all steps",
            json_schema_extra={"minimum": 0},
        ),
    ] = 0.05


class FisherSpec(Section):
    """How the Fisher information of weights is measured, where something asks for it:
    a pool with ``projection: fisher``, or ``prune`` with ``by: fisher``."""

    samples: Count = Field(
        default=1024, description="Training examples to measure it on, at most"
    )


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class FinetuneSpec(Section):
    """How to train the backing weights and the kept parameters."""

    task: Annotated[
        TaskSpec | None,
        BeforeValidator(_named, json_schema_input_type=str | TaskSpec | None),
    ] = Field(
        default=None,
        description="What to train on: a task's name, or a mapping of its name and its"
        " options; --task overrides it",
    )
    steps: Count | None = Field(
        default=None, description="Steps to train, instead of epochs"
    )
    epochs: Count | None = Field(
        default=None,
        validate_default=True,
        description=f"Passes over the training data; {DEFAULT_EPOCHS} without steps",
    )
    batch_size: Count = Field(
        default=128, description="Examples a step, in all processes together"
    )
    accumulate: Count = Field(
        default=1,
        description="Micro-batches that each process takes its share of a step in",
    )
    eval_batch_size: Count | None = Field(
        default=None, description="Examples at a time in evaluation; null: batch_size"
    )
    optimizer: Annotated[
        SerializeAsAny[AdamWSpec | SGDSpec],
        PlainValidator(_optimizer, json_schema_input_type=AdamWSpec | SGDSpec),
    ] = Field(default=AdamWSpec(), description="The optimiser and its settings")
    schedule: ScheduleSpec = Field(
        default=ScheduleSpec(), description="The learning rate over the steps"
    )
    distill: DistillSpec | None = Field(
        default=DistillSpec(),
        description="Learning from a teacher; null: from labels only",
    )
    clip_norm: Positive | None = Field(
        default=None, description="Largest norm of all gradients together; null: any"
    )
    label_smoothing: BelowOne = Field(
        default=0.0, description="Share of each label that is spread over all classes"
    )
    ema: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay of a running mean of the weights, kept as the result",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description="Arithmetic of the model; auto: bfloat16 where it is fast",
    )
    compile: bool = Field(
        default=False, description="Compile the model, and the teacher, for its device"
    )
    channels_last: bool = Field(
        default=False,
        description="Give images (tensors of rank 4) to the model in torch's"
        " channels-last format",
    )
    gradient_checkpointing: bool = Field(
        default=False,
        description="Compute activations again instead of keeping them, for models that"
        " can (transformers', timm's)",
    )
    seed: Annotated[int, Field(ge=0, lt=1 << 32)] = Field(
        default=0, description="Of the order of the data and its augmentation"
    )
    save_every: Count | None = Field(
        default=None,
        description="Steps between saved states of the run; null: an epoch",
    )
    fisher: FisherSpec = Field(
        default=FisherSpec(),
        description="How Fisher information is measured, where a codec or a pool's"
        " projection asks for it",
    )
    calibrate: Annotated[int, Field(ge=0)] = Field(
        default=0,
        description="Batches to calibrate kept tensors on before the first step, as"
        " compress --calibrate does; 0: none",
    )
    gradual: BelowOne = Field(
        default=0.0,
        description="Share of the steps over which ties are faded in, from the network"
        " of the checkpoint on; 0: they are whole from the first step",
    )
    metric: str | None = Field(
        default=None,
        description="The task's metric that tells the best; null: its first",
    )

    @field_validator("gradual")
    @classmethod
    def _check_start(cls, gradual: float, info: ValidationInfo) -> float:
        if gradual and info.data.get("calibrate"):
            raise whole(
                "has both gradual and calibrate: a network whose ties fade in starts as"
                " the checkpoint, with nothing to calibrate"
            )
        return gradual

    @field_validator("epochs")
    @classmethod
    def _complete_length(cls, epochs: int | None, info: ValidationInfo) -> int | None:
        if "steps" not in info.data:
            return epochs  # Wrong, and told so.
        if info.data["steps"] is None:
            return epochs or DEFAULT_EPOCHS
        if epochs is not None:
            raise whole("has both epochs and steps, should have one of them")
        return None
