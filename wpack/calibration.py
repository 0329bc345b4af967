"""A network set right by forward passes alone, after its weights were shared or coded.

Sharing moves what every layer gives, and the layers behind it were trained for what it
gave before.  Two kinds of kept tensors can take that back without a label, without a
gradient and without a change of the architecture:

- the running mean and variance of batch normalisation, which are measured anew: plain
  averages over the batches (momentum None), each batch normalised by its own statistics
  (Jordan et al., *REPAIR*, 2022);
- the bias of a layer whose weights were changed, and the weight and bias of a layer or
  group norm: each channel of its output gets back the mean, and behind a norm the
  variance, that it had in the original network on the same inputs (Nagel et al.,
  *Data-Free Quantization*, 2019).  A layer is corrected while the batch passes, so that
  the layers behind it see what they will see.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .errors import TrainingError
from .feed import Feed
from .moments import Moments, behind, hooked, moments, scaled, shifted
from .plan import Plan
from .slots import slots
from .tie import Tied

#: Share of the mean variance of all channels that counts on top of each channel's, or
#: one that stands still would be scaled without bounds.
FLOOR = 1e-2

#: Layer → what it gave, call by call in the order of the batches; None for an output
#: without rows.
Outputs = Mapping[str, Sequence[Moments | None]]


def norms(network: nn.Module, plan: Plan) -> dict[str, _BatchNorm]:
    """The batch normalisations whose statistics a file holds, by their names."""
    return {
        name: norm
        for name, norm in network.named_modules()
        if isinstance(norm, _BatchNorm)
        and norm.num_batches_tracked is not None
        and f"{name}.running_mean" in plan.by_name
    }


def observe(network: nn.Module, plan: Plan, feed: Feed) -> Outputs:
    """What the layers of the original network give whose counterparts can be corrected;
    nothing is passed where there are none.

    Args:
        network: With its own weights; left in the mode it was in.

    Raises:
        TrainingError, Interrupted: As :meth:`Feed.run`.
    """
    found: dict[str, list[Moments | None]] = {}

    def note(name: str, layer: nn.Module, output: Tensor) -> None:
        found.setdefault(name, []).append(moments(layer, output))

    if watched := shifted(network, plan) | scaled(network, plan):
        with _evaluating(network), hooked(watched, note):
            feed.run(network)
    return found


@torch.no_grad()
def calibrate(
    network: nn.Module, plan: Plan, feed: Feed, reference: Outputs
) -> dict[str, Tensor]:
    """Set a network right, in place, in one pass over the batches.

    Args:
        network: With the weights that a file of the plan holds, tied or not; left in
            the mode it was in.  Batch normalisation alone is in training mode.
        reference: What :func:`observe` gave of the original network and this feed.

    Returns:
        Kept tensor → its new value, not copied, for those that have one.

    Raises:
        TrainingError, Interrupted: As :meth:`Feed.run`; or what is found is NaN or
            infinite.  The network is as it was.
    """
    inner = network.module if isinstance(network, Tied) else network
    measured, matched = norms(inner, plan), scaled(inner, plan)
    corrected = shifted(inner, plan) | matched
    names = [f"{name}.bias" for name in corrected]
    names += [f"{name}.weight" for name in matched]
    for name, norm in measured.items():
        names += [f"{name}.{key}" for key in _statistics(norm)]
    slot_of = dict(slots(inner))
    held = {name: slot_of[name].tensor for name in names}
    before = {name: tensor.clone() for name, tensor in held.items()}
    correct = _Corrections(reference, matched)
    try:
        with (
            _evaluating(network),
            _measuring(measured.values()),
            hooked(corrected, correct),
        ):
            feed.run(network)
        for name, (scale, shift) in correct.means().items():
            if name in matched:
                held[f"{name}.weight"] *= scale
                held[f"{name}.bias"] *= scale
            held[f"{name}.bias"] += shift
        for name, tensor in held.items():
            if not tensor.isfinite().all():
                raise TrainingError("would become NaN or infinite", where=name)
    except BaseException:
        for name, tensor in held.items():
            tensor.copy_(before[name])
        raise
    return {n: tensor for n, tensor in held.items() if not tensor.equal(before[n])}


class _Corrections:
    """Gives each channel of a layer's output its moments in the original network, while
    a batch passes: the mean, and behind a norm the variance."""

    def __init__(self, reference: Outputs, matched: Collection[str]) -> None:
        self._left = {name: iter(outputs) for name, outputs in reference.items()}
        self._matched = matched
        self._made: dict[str, list[Tensor]] = {}

    def __call__(self, name: str, layer: nn.Module, output: Tensor) -> Tensor:
        """The output corrected; as it is where the original's layer had no such call,
        or one of these had no rows (a mixture of experts)."""
        wanted = next(self._left.get(name, iter(())), None)
        found = moments(layer, output)
        if wanted is None or found is None:
            return output
        scale = torch.ones_like(found.mean)
        if name in self._matched:
            floor = FLOOR * wanted.variance.mean() + torch.finfo(scale.dtype).tiny
            scale = ((wanted.variance + floor) / (found.variance + floor)).sqrt()
        pair = torch.stack([scale, wanted.mean - scale * found.mean])
        self._made.setdefault(name, []).append(pair)
        shape = (2, -1, *[1] * behind(layer, output))
        scale, shift = pair.to(output.dtype).view(shape).unbind()
        return output * scale + shift

    def means(self) -> dict[str, Tensor]:
        """Layer → the means of its scales and of its shifts, ``(2, channels)``."""
        return {name: torch.stack(made).mean(0) for name, made in self._made.items()}


def _statistics(norm: _BatchNorm) -> tuple[str, ...]:
    """What calibration changes of it."""
    counted = ("num_batches_tracked",) if norm.momentum is None else ()
    return ("running_mean", "running_var", *counted)


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Everything in ``eval`` mode for the block, then in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _measuring(measured: Collection[_BatchNorm]) -> Iterator[None]:
    """Running statistics become plain averages over the calls in the block; those of a
    norm that is never called stay.  The count of batches, which says how long the
    network was trained, stays too, unless the weight of later batches goes by it."""
    before = [
        (norm, norm.momentum, count, count.clone())
        for norm in measured
        if (count := norm.num_batches_tracked) is not None
    ]
    for norm, _, count, _ in before:
        # The first batch then weighs all: what was there is forgotten.
        norm.momentum, norm.training = None, True
        count.zero_()
    try:
        yield
    finally:
        for norm, momentum, count, trained in before:
            norm.momentum = momentum
            if momentum is not None:
                count.copy_(trained)
