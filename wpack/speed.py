"""What makes a step cheaper and leaves what is learnt alone: compiled models,
activations that are computed again instead of kept, and TF32 beside half precision.

All of it is done to the models of a run, and undone when the run ends.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any

import torch
from torch import nn

from .devices import Placement
from .errors import UsageError
from .spec.recipe import FinetuneSpec
from .tie import Tied

#: What models call it that can compute activations again: transformers', timm's.
CHECKPOINTING = ("gradient_checkpointing_enable", "set_grad_checkpointing")


def quicken(
    student: nn.Module,
    teacher: nn.Module | None,
    recipe: FinetuneSpec,
    placement: Placement,
) -> ExitStack:
    """Do to the models what the recipe says.

    Args:
        student: Tied or not; its weights may change their values, not their places.
        teacher: Compiled along with it, where there is distillation.

    Returns:
        What undoes it when closed.

    Raises:
        UsageError: The student has no gradient checkpointing.
    """
    network = student.module if isinstance(student, Tied) else student
    with ExitStack() as stack:
        if placement.device.type == "cuda" and placement.precision != "float32":
            _allow_tf32(stack)
        if recipe.gradient_checkpointing:
            _checkpoint(network, stack)
        if recipe.compile:
            # Dynamo looks at .grad of working weights, which are no leaves.
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is")
            _compile(network, stack)
            if teacher is not None and recipe.distill:
                _compile(teacher, stack)
        return stack.pop_all()


def _allow_tf32(stack: ExitStack) -> None:
    """Ten bits of mantissa for products that autocast leaves in float32, when all
    others have seven or ten."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    stack.callback(torch.set_float32_matmul_precision, before)


def _compile(model: nn.Module, stack: ExitStack) -> None:
    """Compile what a model computes, but not the hooks around it: a tied module's
    compares pointers and writes where views look."""
    had = model.__dict__.get("forward")
    model.forward = _compiled(model.forward)

    def undo() -> None:
        del model.forward
        if had is not None:
            model.forward = had

    stack.callback(undo)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    from torch._dynamo.exc import BackendCompilerFailed

    compiled = torch.compile(function)

    @wraps(function)
    def forward(*args: Any, **kwargs: Any) -> Any:
        try:
            return compiled(*args, **kwargs)
        except BackendCompilerFailed as error:
            cause = error.inner_exception
            reason = f"{type(cause).__name__}: {cause}".partition("\n")[0]
            raise UsageError(
                f"the model cannot be compiled: {reason}",
                where="finetune.compile",
                hint="It takes a C++ compiler (the environment's CXX names one), or"
                " Triton on a GPU; set it to false to train without",
            ) from error

    return forward


def _checkpoint(network: nn.Module, stack: ExitStack) -> None:
    found = list(_outermost(network))
    if not found:
        raise UsageError(
            f"a {type(network).__name__} has none of its own: neither"
            f" {CHECKPOINTING[0]}() as transformers' models nor {CHECKPOINTING[1]}()"
            " as timm's",
            where="finetune.gradient_checkpointing",
            hint="Set it to false; finetune.accumulate saves memory with any model",
        )
    for model in found:
        try:
            _enable(model, stack)
        except (AssertionError, ValueError, NotImplementedError) as error:
            raise UsageError(
                f"a {type(model).__name__} refuses it: {error}",
                where="finetune.gradient_checkpointing",
                hint="Set it to false",
            ) from error


def _outermost(module: nn.Module) -> Iterator[Any]:
    """The models in a module that have gradient checkpointing."""
    if any(hasattr(module, name) for name in CHECKPOINTING):
        yield module
        return
    for child in module.children():
        yield from _outermost(child)


def _enable(model: Any, stack: ExitStack) -> None:
    """Turn it on.  Keys and values that are kept for the next token are computed in the
    wrong order then, so transformers wants none."""
    if not hasattr(model, CHECKPOINTING[0]):
        model.set_grad_checkpointing(True)
        stack.callback(model.set_grad_checkpointing, False)
        return
    config: Any = getattr(model, "config", None)
    if hasattr(config, "use_cache"):
        stack.callback(setattr, config, "use_cache", config.use_cache)
        config.use_cache = False
    model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": False}
    )
    stack.callback(model.gradient_checkpointing_disable)
