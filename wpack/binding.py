"""Working weights bound to pools as they are, and put where a module looks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from .plan import Plan
from .reads import Reads
from .residuals import Residuals
from .weights import Weight, parts_of


class Binding:
    """Working weights in the places of a module's parameters.

    Attributes:
        weights: Pooled tensor → its working weights.

    Args:
        module: Without its pooled parameters.
        pools: As they are now, in the plan's order.
        residuals: What is added to working weights; None for none.
        dtypes: Pooled tensor → what it is trained in.
        held: Pooled tensor → the names under which the module holds it.
        before: Called before each forward pass of the module.
    """

    def __init__(
        self,
        module: nn.Module,
        plan: Plan,
        pools: Sequence[Tensor],
        residuals: Residuals | None,
        *,
        dtypes: Mapping[str, torch.dtype],
        held: Mapping[str, Sequence[str]],
        before: Callable[[], None],
    ) -> None:
        self.pools, self.marks = pools, [_mark(pool) for pool in pools]
        self.residuals = residuals
        added = residuals.values if residuals else {}
        parts = {t.name: parts_of(plan, t) for t in plan.pooled}
        spans = [span for ps in parts.values() for part in ps for span in part.spans]
        # A binding outlives the forward pass, and the mode, in which it was made.
        with torch.inference_mode(False), torch.enable_grad():
            self.reads = Reads(pools, spans)
            self.weights = {
                t.name: Weight(
                    t.info.shape,
                    dtypes[t.name],
                    parts[t.name],
                    self.reads,
                    added.get(t.name),
                )
                for t in plan.pooled
            }
        self.places = [
            (weight, [_place(module, name) for name in held[root]])
            for root, weight in self.weights.items()
        ]
        # Never compiled: it compares pointers and writes where views look.
        hook: Callable[..., None] = torch.compiler.disable(  # type: ignore[no-untyped-call]
            lambda module, args: before()
        )
        self.hook = module.register_forward_pre_hook(hook)

    def fits(self, pools: Sequence[Tensor], residuals: Residuals | None) -> bool:
        """Whether these are the very pools and residuals, as they were, and the views
        still theirs: cuDNN moves the weights of recurrent layers into a buffer of its
        own."""
        return (
            residuals is self.residuals
            and all(
                pool is bound and _mark(pool) == mark
                for pool, bound, mark in zip(pools, self.pools, self.marks, strict=True)
            )
            and all(r.in_place for w in self.weights.values() for r in w.readings)
        )

    def refresh(self) -> None:
        """Bring all working weights up to date, each in the room of its last value
        where it is computed anew."""
        self.reads.forget()
        share = self.residuals.share if self.residuals else 0.0
        for weight, places in self.places:
            weight.refresh(share)
            for owner, attribute in places:
                if getattr(owner, attribute, None) is not weight.tensor:
                    setattr(owner, attribute, weight.tensor)

    def release(self) -> None:
        """Take the working weights out of the module.  ``setattr``, since recurrent
        layers keep a second list of their weights and follow it there."""
        self.hook.remove()
        for _, places in self.places:
            for owner, attribute in places:
                setattr(owner, attribute, None)


def _place(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The submodule that holds a tensor, and the attribute."""
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute


def _mark(pool: Tensor) -> tuple[object, ...]:
    return pool.data_ptr(), pool.dtype, pool.device, pool.requires_grad
