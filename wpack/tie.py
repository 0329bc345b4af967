"""Weight tying: pools as the only parameters of a user's module.

A working weight that a technique reads straight from its pool is a *view* of the pool's
storage, made once: an optimiser that steps the pool steps the weight, at no cost in the
next forward pass.  What cannot be a view (a tensor that wraps, or one made of several
ranges) is copied together before each forward pass, and techniques that compute their
working weights do so then.  :mod:`wpack.reads` takes the gradients back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .binding import Binding
from .errors import TrainingError
from .plan import Plan
from .residuals import Residuals
from .slots import match, slots, take_over
from .tensors import FLOAT64, DType


class Tied(nn.Module):
    """A module whose pooled weights come from pools.

    ``parameters()`` and ``state_dict()`` give each pool once, as ``pools.<name>`` (a
    dot in a pool's name is written ``%2E``), and what the plan keeps, as
    ``module.<name>``.  Ties hold through ``.to()``, ``.half()``, ``copy.deepcopy``,
    pickling, ``load_state_dict``, DDP and ``torch.compile``; an optimiser made before
    ``.to()`` stays valid, as for any module.

    Calling :attr:`module` itself does what calling the tied module does.  Before
    calling *parts* of it after a step, call :meth:`refresh`, :meth:`train` or
    :meth:`eval`, unless all working weights are views (:attr:`copied_nbytes` is 0).

    Attributes:
        residuals: What is added to working weights; None, but for ties that fade in.

    Args:
        module: The network, changed in place: its pooled parameters become plain
            tensors.  Its code needs no change.
        plan: Which tensor, by its name in ``module.state_dict()``, reads what.
        backing: Pool → ``(backing,)``, of any floating dtype, copied; None for zeros,
            to be filled by ``load_state_dict``.  Pools train in float32, float64 ones
            in float64, until ``.to()`` says otherwise.

    Raises:
        TrainingError: The module, the plan and the backing weights do not fit together.
            The module is as it was.
    """

    def __init__(
        self, module: nn.Module, plan: Plan, backing: Mapping[str, Tensor] | None = None
    ) -> None:
        super().__init__()
        self.plan = plan
        self._held = match(module, plan)
        self._dtypes = {t.name: _training_dtype(t.info.dtype) for t in plan.pooled}
        self.pools = _Pools(_parameters(module, plan, backing))
        take_over(module, plan, self._held)
        self.module = module
        self.residuals: Residuals | None = None
        self._binding: Binding | None = None
        self.refresh()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Whatever the wrapped module returns for these arguments."""
        return self.module(*args, **kwargs)

    def refresh(self) -> None:
        """Bring working weights that are no views up to date with their pools; done
        before each forward pass of :attr:`module`."""
        self._bound().refresh()

    def loosen(self, original: Mapping[str, Tensor]) -> None:
        """Give each pooled weight a residual, what it is off from an original by now,
        of which ``residuals.share`` is added to it; none at first.  No weight is a view
        then.

        Args:
            original: Pooled tensor → its values before it was tied; overwritten.

        Raises:
            KeyError: A pooled tensor is not among them.
        """
        self.residuals = None
        values = {}
        for name, made in self.working().items():
            flat = original[name].detach().to(made).reshape(-1)
            values[name] = flat.sub_(made.reshape(-1))
        self.residuals = Residuals(values)
        self.refresh()

    def tighten(self) -> None:
        """Drop the residuals."""
        self.residuals = None
        self.refresh()

    def train(self, mode: bool = True) -> Tied:
        """Set the mode, and :meth:`refresh`."""
        super().train(mode)
        self.refresh()
        return self

    def backing(self) -> dict[str, Tensor]:
        """Pool → its backing weights ``(backing,)``, detached, not copied."""
        pools = zip(self.plan.pools, self.pools.in_order(), strict=True)
        return {pool.name: values.detach() for pool, values in pools}

    def working(self) -> dict[str, Tensor]:
        """Pooled tensor → its working weights, detached, not copied; no aliases."""
        self.refresh()
        weights = self._bound().weights.items()
        return {name: weight.tensor.detach() for name, weight in weights}

    def kept(self) -> dict[str, Tensor]:
        """Kept tensor → its value, detached, not copied: parameters and buffers, so
        batch-norm statistics as well."""
        found = dict(slots(self.module))
        return {t.name: found[t.name].tensor.detach() for t in self.plan.kept}

    @property
    def copied_nbytes(self) -> int:
        """Bytes of working weights that each forward pass copies together; 0 where all
        are views."""
        readings = (r for w in self._bound().weights.values() for r in w.readings)
        return sum(r.buffer.nbytes for r in readings if r.buffer is not None)

    def extra_repr(self) -> str:
        """Sizes, for ``print(tied)``."""
        working = sum(pool.working for pool in self.plan.pools)
        backing = sum(pool.backing for pool in self.plan.pools)
        return f"{working:,} working weights from {backing:,} backing weights"

    def _bound(self) -> Binding:
        """The binding to the pools as they are now.  They may be others than before:
        ``load_state_dict(assign=True)``, ``functional_call``, ``pool.data = …``."""
        pools = self.pools.in_order()
        if self._binding is None or not self._binding.fits(pools, self.residuals):
            self._release()
            self._binding = Binding(
                self.module,
                self.plan,
                pools,
                self.residuals,
                dtypes=self._dtypes,
                held=self._held,
                before=self.refresh,
            )
        return self._binding

    def _release(self) -> None:
        if self._binding is not None:
            self._binding.release()
            self._binding = None

    @contextmanager
    def _unbound(self) -> Iterator[None]:
        """The module without working weights, for as long as the block lasts."""
        self._release()
        try:
            yield
        finally:
            self.refresh()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Tied:
        # A graph remembers the dtype and device that its pools had when it was built.
        with self._unbound():
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            if self.residuals is not None:
                self.residuals.apply(fn)
            for name, dtype in self._dtypes.items():
                self._dtypes[name] = fn(torch.empty(0, dtype=dtype)).dtype
        return self

    def __getstate__(self) -> dict[str, Any]:
        # Tensors of a graph cannot be copied, and a pickled view would carry its whole
        # pool: the state has a module without them.  Its parameters are shared.
        with self._unbound():
            owned = (*self.module.parameters(), *self.module.buffers())
            module = copy.deepcopy(
                self.module, {id(tensor): tensor for tensor in owned}
            )
        modules = {**self._modules, "module": module}
        return {**self.__dict__, "_modules": modules, "_binding": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.refresh()


class _Pools(nn.Module):
    """One parameter a pool.  ``ParameterDict`` refuses pools called ``update`` or
    ``half``, and would take a dot for a path."""

    def __init__(self, values: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        for name, value in values.items():
            self._parameters[name.replace("%", "%25").replace(".", "%2E")] = value

    def in_order(self) -> list[Tensor]:
        """The pools in the plan's order."""
        return [pool for pool in self._parameters.values() if pool is not None]


def _training_dtype(dtype: DType) -> torch.dtype:
    return torch.float64 if dtype == FLOAT64 else torch.float32


def _parameters(
    module: nn.Module, plan: Plan, backing: Mapping[str, Tensor] | None
) -> dict[str, nn.Parameter]:
    """The pools, each on the device of the first tensor that reads it."""
    found = dict(slots(module))
    devices = {
        index: found[tensor.name].tensor.device
        for tensor in reversed(plan.pooled)
        for index, _ in tensor.pieces
    }
    parameters: dict[str, nn.Parameter] = {}
    for index, pool in enumerate(plan.pools):
        values = torch.zeros(
            pool.backing, dtype=_training_dtype(pool.dtype), device=devices.get(index)
        )
        if backing is not None:
            values.copy_(_given(pool.name, pool.backing, backing))
        parameters[pool.name] = nn.Parameter(values)
    return parameters


def _given(name: str, numel: int, backing: Mapping[str, Tensor]) -> Tensor:
    given = backing.get(name)
    if given is None or tuple(given.shape) != (numel,):
        came = "nothing" if given is None else f"shape {tuple(given.shape)}"
        raise TrainingError(
            f"needs backing weights of shape ({numel},), got {came}",
            where=f"pool {name!r}",
        )
    return given.detach()
