"""A network set right by forward passes alone, after its weights were shared or coded.

Sharing moves what every layer gives, and the layers behind it were trained for what it
gave before.  Two kinds of kept tensors can take that back without a label, without a
gradient and without a change of the architecture:

- the running mean and variance of batch normalisation, which are measured anew: plain
  averages over the batches (momentum None), each batch normalised by its own statistics
  (Jordan et al., *REPAIR*, 2022);
- the bias of a layer whose weights were changed: each channel of its output gets back
  the mean that it had in the original network on the same inputs (Nagel et al.,
  *Data-Free Quantization*, 2019).  A layer is corrected while the batch passes, so that
  the layers behind it see what they will see.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from . import sampling
from .data import Data
from .devices import Placement
from .errors import TrainingError
from .evaluate import blaming
from .plan import Plan
from .slots import slots
from .stopping import Interrupted, Stop, never
from .tasks import Task, call_model
from .tie import Tied

#: What the random numbers are for; each use of a run's seed has its own.
_CALIBRATION = 3

#: Layer → the mean of each channel of its output, ``(channels,)`` float64, call by call
#: in the order of the batches; None for an output without rows.
Means = Mapping[str, Sequence[Tensor | None]]


@dataclass(frozen=True)
class Feed:
    """Batches to pass through networks: the first that training with this seed sees.

    Attributes:
        data: The task's training data, as it augments them.
        batch_size: Examples a batch; fewer where there are not as many.
        stop: Asked before each batch.
        on_batch: Called after each batch, for progress.
    """

    task: Task
    data: Data
    batches: int
    batch_size: int
    seed: int
    placement: Placement
    stop: Stop = never
    on_batch: Callable[[], object] = lambda: None

    def run(self, network: nn.Module) -> None:
        """Call a network, on the placement's device, with every batch.

        The same batches and the same random numbers each time.

        Raises:
            TrainingError: The data are empty, or the task or the network failed.
            Interrupted: ``stop`` said so.
        """
        numel = len(self.data)
        sampler = sampling.Sampler(numel, min(self.batch_size, numel) or 1, self.seed)
        device = self.placement.device
        with torch.no_grad(), blaming("calibration"):
            for index in range(self.batches):
                if code := self.stop():
                    raise Interrupted("stopped during calibration", exit_code=code)
                numbers = self.seed, _CALIBRATION, index
                with sampling.seeded(device, *numbers):
                    indices = torch.from_numpy(sampler.indices(index))
                    fetched = self.data.batch(indices, sampling.generator(*numbers))
                    batch = self.placement.move(fetched)
                    with self.placement.autocast():
                        call_model(network, self.task.inputs(batch))
                self.on_batch()


def layers(network: nn.Module, plan: Plan) -> dict[str, nn.Module]:
    """The layers whose weights a file shares or codes, and whose biases it keeps: dense
    ones and convolutions, by their names in the network."""
    shared = set(plan.aliases.values())
    found = {}
    for name, layer in network.named_modules():
        weight = plan.by_name.get(plan.aliases.get(f"{name}.weight", f"{name}.weight"))
        bias = plan.by_name.get(f"{name}.bias")
        if (
            weight is not None
            and (weight.kind == "pooled" or weight.group is not None)
            and bias is not None
            and bias.kind == "kept"
            and bias.name not in shared
            and (_is_dense(layer) or isinstance(layer, _ConvNd))
        ):
            found[name] = layer
    return found


def norms(network: nn.Module, plan: Plan) -> dict[str, _BatchNorm]:
    """The batch normalisations whose statistics a file holds, by their names."""
    return {
        name: norm
        for name, norm in network.named_modules()
        if isinstance(norm, _BatchNorm)
        and norm.num_batches_tracked is not None
        and f"{name}.running_mean" in plan.by_name
    }


def observe(network: nn.Module, plan: Plan, feed: Feed) -> Means:
    """What the :func:`layers` of the original network give.

    Args:
        network: With its own weights; left in the mode it was in.

    Raises:
        TrainingError, Interrupted: As :meth:`Feed.run`.
    """
    found: dict[str, list[Tensor | None]] = {}

    def note(name: str, layer: nn.Module, output: Tensor) -> None:
        found.setdefault(name, []).append(_means(layer, output))

    if watched := layers(network, plan):
        with _evaluating(network), _hooked(watched, note):
            feed.run(network)
    return found


@torch.no_grad()
def calibrate(
    network: nn.Module, plan: Plan, feed: Feed, reference: Means
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
    measured, biased = norms(inner, plan), layers(inner, plan)
    names = [f"{name}.bias" for name in biased]
    for name, norm in measured.items():
        names += [f"{name}.{key}" for key in _statistics(norm)]
    slot_of = dict(slots(inner))
    held = {name: slot_of[name].tensor for name in names}
    before = {name: tensor.clone() for name, tensor in held.items()}
    correct = _Corrections(reference)
    try:
        with (
            _evaluating(network),
            _measuring(measured.values()),
            _hooked(biased, correct),
        ):
            feed.run(network)
        for name, shift in correct.means().items():
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
    """Gives each channel of a layer's output its mean in the original network, while a
    batch passes."""

    def __init__(self, reference: Means) -> None:
        self._left = {name: iter(means) for name, means in reference.items()}
        self._shifts: dict[str, list[Tensor]] = {}

    def __call__(self, name: str, layer: nn.Module, output: Tensor) -> Tensor:
        """The output corrected; as it is where the original's layer had no such call,
        or one of these had no rows (a mixture of experts)."""
        wanted, found = (
            next(self._left.get(name, iter(())), None),
            _means(layer, output),
        )
        if wanted is None or found is None:
            return output
        shift = wanted - found
        self._shifts.setdefault(name, []).append(shift)
        behind = output.dim() - 1 - _channels(layer, output)
        return output + shift.to(output.dtype).view(-1, *[1] * behind)

    def means(self) -> dict[str, Tensor]:
        """Layer → the mean of its corrections, ``(channels,)``."""
        return {name: torch.stack(all_).mean(0) for name, all_ in self._shifts.items()}


def _statistics(norm: _BatchNorm) -> tuple[str, ...]:
    """What calibration changes of it."""
    counted = ("num_batches_tracked",) if norm.momentum is None else ()
    return ("running_mean", "running_var", *counted)


def _channels(layer: nn.Module, output: Tensor) -> int:
    """The dimension of an output that counts channels."""
    behind = len(layer.kernel_size) if isinstance(layer, _ConvNd) else 0
    return output.dim() - 1 - behind


def _means(layer: nn.Module, output: Tensor) -> Tensor | None:
    if not output.numel():
        return None
    wide = torch.float32 if output.device.type == "mps" else torch.float64
    rows = output.detach().movedim(_channels(layer, output), 0).flatten(1)
    return rows.mean(1, dtype=wide)


def _is_dense(layer: nn.Module) -> bool:
    """GPT-2's dense layers are Conv1D of transformers, which need not be installed."""
    return isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"


@contextmanager
def _hooked(
    watched: Mapping[str, nn.Module],
    hook: Callable[[str, nn.Module, Tensor], Tensor | None],
) -> Iterator[None]:
    """``hook(name, layer, output)`` after each call of a layer; what it gives, if it
    gives anything, is the output."""
    with ExitStack() as stack:
        for name, layer in watched.items():

            def after(
                layer: nn.Module, _: Any, output: Tensor, name: str = name
            ) -> Any:
                return hook(name, layer, output)

            stack.callback(layer.register_forward_hook(after).remove)
        yield


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
