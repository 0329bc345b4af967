"""Layers whose outputs can be put right by parameters of their own, and the mean and
variance of each channel of those."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from .plan import Plan


class Moments(NamedTuple):
    """Of one output of a layer, channel by channel: ``(channels,)``, float32 each."""

    mean: Tensor
    variance: Tensor


def shifted(network: nn.Module, plan: Plan) -> dict[str, nn.Module]:
    """The layers whose weights a file shares or codes, and whose biases it keeps: dense
    ones and convolutions, by their names in the network."""
    return {
        name: layer
        for name, layer in network.named_modules()
        if (_is_dense(layer) or isinstance(layer, _ConvNd))
        and _is_changed(f"{name}.weight", plan)
        and _is_kept(f"{name}.bias", plan)
    }


def scaled(network: nn.Module, plan: Plan) -> dict[str, nn.Module]:
    """The layer and group norms with a weight and a bias for each channel, which a file
    keeps, by their names in the network."""
    return {
        name: norm
        for name, norm in network.named_modules()
        if isinstance(norm, nn.LayerNorm | nn.GroupNorm)
        and norm.weight is not None
        and norm.weight.dim() == 1
        and _is_kept(f"{name}.weight", plan)
        and _is_kept(f"{name}.bias", plan)
    }


def behind(layer: nn.Module, output: Tensor) -> int:
    """How many dimensions of an output come after that of its channels."""
    if isinstance(layer, _ConvNd):
        return len(layer.kernel_size)
    if isinstance(layer, nn.GroupNorm):
        return output.dim() - 2
    # The layer norm of channels first, in torchvision and timm.
    return 2 if type(layer).__name__ == "LayerNorm2d" else 0


def moments(layer: nn.Module, output: Tensor) -> Moments | None:
    """Over all rows; None where there are none."""
    if not output.numel():
        return None
    channels = output.dim() - 1 - behind(layer, output)
    rows = output.detach().float().movedim(channels, 0).flatten(1)
    variance, mean = torch.var_mean(rows, 1, correction=0)
    return Moments(mean, variance)


@contextmanager
def hooked(
    watched: Mapping[str, nn.Module],
    hook: Callable[[str, nn.Module, Tensor], Tensor | None],
) -> Iterator[None]:
    """``hook(name, layer, output)`` after each call of a layer; what it gives, if it
    gives anything, is the output."""
    with ExitStack() as stack:
        for name, layer in watched.items():

            def after(
                layer: nn.Module, _: Any, output: Tensor, name: str = name
            ) -> Tensor | None:
                return hook(name, layer, output)

            stack.callback(layer.register_forward_hook(after).remove)
        yield


def _is_dense(layer: nn.Module) -> bool:
    """GPT-2's dense layers are Conv1D of transformers, which need not be installed."""
    return isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"


def _is_changed(name: str, plan: Plan) -> bool:
    tensor = plan.by_name.get(plan.aliases.get(name, name))
    return tensor is not None and (tensor.kind == "pooled" or tensor.group is not None)


def _is_kept(name: str, plan: Plan) -> bool:
    """Whether it can be changed for this layer alone."""
    tensor = plan.by_name.get(name)
    is_kept = tensor is not None and tensor.kind == "kept"
    return is_kept and name not in plan.aliases.values()
