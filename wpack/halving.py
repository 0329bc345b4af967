"""A teacher's matrices in half precision: half the memory, the same arithmetic."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

#: Modules that give their weight to one product and to nothing else.
PRODUCTS: tuple[type[nn.Module], ...] = (nn.Linear, _ConvNd)


class Halving:
    """Casts, once, the weights that autocast would cast at each call.

    Which these are shows the first batch: a linear layer's or a convolution's that was
    called under autocast each time it was called.  A layer that turns autocast off, as
    the routers of mixtures of experts do, has to find float32; and so has whatever else
    looks at a weight, an embedding that it is shared with or a parametrisation.

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
            if isinstance(module, _products())
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
            under = torch.is_autocast_enabled(self._device_type)
            calls[module] = calls.get(module, True) and under

        return watch

    def _cast(self, called: set[nn.Module]) -> None:
        owners: dict[nn.Parameter, set[tuple[nn.Module, str]]] = {}
        for module in self._network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                owners.setdefault(parameter, set()).add((module, name))
        for parameter, places in owners.items():
            if parameter.dtype == torch.float32 and all(
                module in called and name == "weight" for module, name in places
            ):
                parameter.data = parameter.data.to(self._dtype)


def _products() -> tuple[type[nn.Module], ...]:
    """:data:`PRODUCTS`, and GPT-2's own linear layer where transformers is in use."""
    found = sys.modules.get("transformers.pytorch_utils")
    return PRODUCTS if found is None else (*PRODUCTS, found.Conv1D)
