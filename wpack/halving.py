"""A teacher's matrices in half precision: half the memory, the same arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

#: Modules that give weights to products and to nothing else, and those weights.
PRODUCTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("weight",),
    nn.Conv1d: ("weight",),
    nn.Conv2d: ("weight",),
    nn.Conv3d: ("weight",),
    nn.ConvTranspose1d: ("weight",),
    nn.ConvTranspose2d: ("weight",),
    nn.ConvTranspose3d: ("weight",),
    nn.MultiheadAttention: (
        "in_proj_weight",
        "q_proj_weight",
        "k_proj_weight",
        "v_proj_weight",
        "out_proj.weight",
    ),
}


class Halving:
    """Casts, once, the weights that autocast would cast at each call.

    Which these are shows the first batch: those of :data:`PRODUCTS` that were called
    under this very autocast each time they were called.  A layer that turns autocast
    off, as the routers of mixtures of experts do, has to find float32; and so has a
    layer with a ``forward`` of its own, and whatever else a weight belongs to: an
    embedding that it is shared with, a parametrisation.

    Args:
        network: Changed in place, after the first :meth:`watching`.
        dtype: bfloat16 or float16.
        device_type: Whose autocast it is.
    """

    def __init__(
        self, network: nn.Module, dtype: torch.dtype, device_type: str
    ) -> None:
        self._network = network
        self._dtype = dtype
        self._device_type = device_type
        self._is_done = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The block in which the network is called; as it is, from the second on."""
        if self._is_done:
            yield
            return
        calls: dict[nn.Module, bool] = {}
        hooks = [
            module.register_forward_pre_hook(self._watch(calls))
            for module in self._network.modules()
            if _weights(module)
        ]
        try:
            # Compiled as the network is called later: without hooks, of other dtypes.
            with torch.compiler.set_stance("force_eager"):
                yield
        finally:
            for hook in hooks:
                hook.remove()
        self._cast({module for module, under in calls.items() if under})
        self._is_done = True

    def _watch(self, calls: dict[nn.Module, bool]) -> Callable[..., None]:
        def watch(module: nn.Module, args: object) -> None:
            kind = self._device_type
            is_under = torch.is_autocast_enabled(kind) and (
                torch.get_autocast_dtype(kind) == self._dtype
            )
            calls[module] = calls.get(module, True) and is_under

        return watch

    def _cast(self, called: set[nn.Module]) -> None:
        used = {place for module in called for place in _places(module)}
        owners: dict[nn.Parameter, set[tuple[nn.Module, str]]] = {}
        for module in self._network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                owners.setdefault(parameter, set()).add((module, name))
        for parameter, places in owners.items():
            if parameter.dtype == torch.float32 and places <= used:
                parameter.data = parameter.data.to(self._dtype)


def _weights(module: nn.Module) -> tuple[str, ...]:
    """The weights of a module that go into products and nowhere else; GPT-2's linear
    layer is transformers' own."""
    known = PRODUCTS
    if library := sys.modules.get("transformers.pytorch_utils"):
        known = {**PRODUCTS, library.Conv1D: ("weight",)}
    for kind, names in known.items():
        is_plain = "forward" not in vars(module)
        if is_plain and type(module).forward is kind.forward:
            return names
    return ()


def _places(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Where a module's :func:`_weights` are."""
    for name in _weights(module):
        path, _, attribute = name.rpartition(".")
        yield module.get_submodule(path), attribute
