"""A tensor that is trained through its codecs: real values, *latents*, behind the coded
ones that the network computes with and its file holds.

The optimiser steps latents with the gradients of coded values (the straight-through
estimator: Courbariaux, Bengio, David, *BinaryConnect*, 2015).  Three things hold while
it does: a weight that was pruned stays zero, one that its quantiser has fixed stays as
it is, and weights that share a value move together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from .arrangement import Coded
from .chain import Encoded
from .codecs import Codec, Quantiser, Selector
from .errors import TrainingError
from .tensors import FLOAT64

#: What a weight that is not pruned counts as at least, beside the largest.
_LEAST = 1e-30


class Latent:
    """The state of one such tensor.

    Values are flat throughout: ``(numel,)``, of the parameter's dtype, on its device.

    Attributes:
        alive: ``(numel,)`` bool, false where pruned; None without a selector and before
            the first :meth:`advance`.
        fixed: ``(numel,)`` bool, true where the quantiser lets no step change a weight;
            None where it never does.
        cluster: ``(survivors,)`` int64, equal for those that share a value; None where
            none do, or not yet.

    Args:
        where: What to call the tensor in messages.
        coded: Its codecs, and the dtype that they decode to.
        importance: ``(numel,)``, for selectors that ask for it.
    """

    def __init__(
        self, where: str, coded: Coded, importance: np.ndarray | None = None
    ) -> None:
        self.where, self.coded, self.importance = where, coded, importance
        self.alive: Tensor | None = None
        self.fixed: Tensor | None = None
        self.cluster: Tensor | None = None
        self._leader = torch.empty(0, dtype=torch.int64)
        self._dtype: torch.dtype = getattr(torch, coded.dtype.name)
        is_double = coded.dtype == FLOAT64
        self._wide = torch.float64 if is_double else torch.float32

    def advance(self, values: Tensor, progress: float) -> Tensor:
        """Come to a moment of the codecs' schedules: prune, fix and share what is due.

        Returns:
            The latents to go on with.

        Raises:
            TrainingError: A latent is NaN or infinite.
        """
        self._check(values)
        selector, quantiser = self.coded.chain.selector, self._quantiser
        is_selected = True
        if selector:
            now = selector.during(progress)
            assert isinstance(now, Selector)
            self.alive = self._chosen(values, now)
            values = values.masked_fill(~self.alive, 0)
            is_selected = now == selector
        if quantiser is None or not is_selected:
            return values  # It is for the weights that stay in the end.
        if _shares(quantiser):
            return self._joined(values, quantiser) if self.cluster is None else values
        ranked, before = values, self.fixed
        if before is not None:  # Those come first, or more would be with each call.
            ranked = torch.where(before, 2 * values.abs().max(), values)
        due = quantiser.fixed(self._kept(ranked), progress)
        if due is None:
            return values
        self.fixed = self._spread(due)
        new = self.fixed if before is None else self.fixed & ~before
        return torch.where(new, self._quantised(values, quantiser), values)

    def fake(self, values: Tensor, progress: float) -> Tensor:
        """The coded values of latents: what decoding gives, but that schedules may not
        have come to an end."""
        self._check(values)
        quantiser = self._quantiser
        if quantiser is None or self.fixed is not None:
            return values.to(self._dtype).to(values.dtype)
        if not _shares(quantiser):
            return self._quantised(values, quantiser.during(progress))
        if self.cluster is None:
            return values
        # As few values as there are levels: each is its own nearest.
        book = self._coded(self._kept(values)[self._leader], quantiser)
        return self._spread(book[self.cluster])

    def refined(self, values: Tensor, gradient: Tensor) -> Tensor:
        """The latents' gradient from that of their coded values."""
        still = self._still()
        if still is not None:
            gradient = gradient.masked_fill(still, 0)
        if self.cluster is None or self._quantiser is None:
            return gradient
        kept = self._kept(values), self._kept(gradient)
        return self._spread(self._quantiser.shared_gradient(*kept))

    def held(self, before: Tensor, after: Tensor) -> Tensor:
        """The latents after a step: momentum and decay, too, must leave what is still,
        and rounding must not part what is together."""
        still = self._still()
        if still is not None:
            after = torch.where(still, before, after)
        return after if self.cluster is None else self._together(after)

    def encode(self, values: Tensor, latents: Tensor) -> Encoded:
        """What a file would hold of values: of the latents, or of their running mean.

        Raises:
            TrainingError: A value is NaN or infinite.
        """
        self._check(values)
        if self.fixed is not None:
            values = torch.where(self.fixed, latents, values)
        if self.alive is not None:
            values = values.masked_fill(~self.alive, 0)
        if self.cluster is not None:
            values = self._together(values)
        selector = self.coded.chain.selector
        mask = None
        if selector:
            mask = self._chosen(values, selector).cpu().numpy()
        raw = values.to(self._wide).cpu().numpy()
        with self._naming():
            return self.coded.chain.encode(raw, self.coded.dtype, mask=mask)

    def decode(self, data: Tensor) -> Tensor:
        """The values of stored bytes, ``(numel,)``, on the CPU."""
        dtype = self.coded.dtype
        raw = np.empty(self.coded.numel, dtype.raw)
        stored = data.numpy()
        self.coded.chain.decode(
            lambda begin, end: stored[begin:end], len(stored), dtype, raw, self.where
        )
        return torch.from_numpy(raw.view(f"u{dtype.itemsize}")).view(self._dtype)

    def state(self) -> dict[str, Tensor]:
        """What cannot be told from the latents."""
        found = {"alive": self.alive, "fixed": self.fixed, "cluster": self.cluster}
        return {name: value for name, value in found.items() if value is not None}

    def restore(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Go back to a :meth:`state`."""
        at = {name: value.to(device) for name, value in state.items()}
        self.alive, self.fixed = at.get("alive"), at.get("fixed")
        if "cluster" in at:
            self._join(at["cluster"])

    def _quantised(self, values: Tensor, quantiser: Codec) -> Tensor:
        return self._spread(self._coded(self._kept(values), quantiser))

    def _coded(self, kept: Tensor, quantiser: Codec) -> Tensor:
        """What a quantiser makes of survivors, in the dtype that they are decoded to.

        Raises:
            TrainingError: A value is too large for it.
        """
        assert isinstance(quantiser, Quantiser)
        with self._naming():
            made: Tensor = quantiser.fake(kept)
        return made.to(self._dtype).to(kept.dtype)

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise TrainingError(str(error), where=self.where) from None

    @property
    def _quantiser(self) -> Quantiser | None:
        return self.coded.chain.quantiser

    def _still(self) -> Tensor | None:
        """``(numel,)`` bool, true where no step may change a weight; None: nowhere."""
        if self.alive is None or self.fixed is None:
            return self.fixed if self.alive is None else ~self.alive
        return self.fixed | ~self.alive

    def _kept(self, values: Tensor) -> Tensor:
        return values if self.alive is None else values[self.alive]

    def _spread(self, kept: Tensor) -> Tensor:
        """Zeros, or false, between survivors."""
        if self.alive is None:
            return kept
        return kept.new_zeros(self.coded.numel).masked_scatter_(self.alive, kept)

    def _joined(self, values: Tensor, quantiser: Quantiser) -> Tensor:
        """Let weights share values from now on."""
        made = self._coded(self._kept(values), quantiser)
        self._join(torch.unique(made, return_inverse=True)[1])
        return self._spread(made)

    def _join(self, cluster: Tensor) -> None:
        self.cluster = cluster
        first = np.unique(cluster.cpu().numpy(), return_index=True)[1]
        self._leader = torch.from_numpy(first).to(cluster.device)

    def _together(self, values: Tensor) -> Tensor:
        assert self.cluster is not None
        return self._spread(self._kept(values)[self._leader][self.cluster])

    def _chosen(self, values: Tensor, selector: Selector) -> Tensor:
        """Who survives, ``(numel,)`` bool; nobody is raised from the dead: those alive
        rank above them, even those of no size or no importance.  At first, zeros count
        as dead: they are where a file was trained through such codecs."""
        alive = values != 0 if self.alive is None else self.alive
        values, importance = _above_zero(values.double(), alive), None
        if self.importance is not None:
            given = torch.from_numpy(self.importance).to(values)
            importance = _above_zero(given, alive)
        with self._naming():
            chosen: Tensor = selector.select(values, importance)
        return chosen

    def _check(self, values: Tensor) -> None:
        if not values.isfinite().all():
            raise TrainingError(
                "has weights that are NaN or infinite, which no codec stores",
                where=self.where,
                hint="Lower finetune.optimizer.lr, or set finetune.clip_norm",
            )


def _shares(quantiser: Quantiser) -> bool:
    """Whether weights with one code have one value that is trained."""
    return type(quantiser).shared_gradient is not Quantiser.shared_gradient


def _above_zero(values: Tensor, alive: Tensor) -> Tensor:
    """Values that are zero exactly where they are dead."""
    largest = float(values.abs().max()) if len(values) else 0.0
    nudged = values.masked_fill(values == 0, _LEAST * (largest or 1.0))
    return nudged.masked_fill(~alive, 0)
