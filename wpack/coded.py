"""What is coded of a student: coded values while a step is computed, latents while it
is taken, and the bytes of the best weights, which are what its file will hold."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .arrangement import POOL_PREFIX, coded, group_name
from .chain import Encoded, StageSize
from .latent import Latent
from .tensors import TensorInfo
from .tie import Tied

#: Moments of a run at which schedules of codecs go on.
MOMENTS = 100


class Coded:
    """All pools and groups of kept tensors of a student that codecs store; none for a
    student that is not tied, or whose plan has no codecs.

    They go by the names that a file has for them, the student's tensors by theirs in
    its state dict.

    Attributes:
        latents: Pool or group → its state.
        names: Tensors of the student that are in them.
        best: Pool or group → the bytes of the best weights; empty before :meth:`keep`.

    Args:
        importance: Pool, or tensor that is kept → ``(numel,)``, the diagonal Fisher
            information of each weight, for selectors that ask for it.
    """

    def __init__(
        self, student: nn.Module, importance: Mapping[str, np.ndarray] | None = None
    ) -> None:
        self.student = student
        self.latents: dict[str, Latent] = {}
        self.best: dict[str, Encoded] = {}
        self.names: Collection[str] = ()
        self._members: dict[str, dict[str, tuple[int, ...]]] = {}
        self._aliases: dict[str, str] = {}
        self._latest: dict[str, Encoded] = {}
        self._before: dict[str, Tensor] = {}
        if not isinstance(student, Tied):
            return
        specs, plan = coded(student.plan), student.plan
        for pool, (name, _) in zip(
            plan.pools, student.pools.named_parameters(), strict=True
        ):
            if (stored := POOL_PREFIX + pool.name) in specs:
                given = (importance or {}).get(stored)
                where = f"pool {pool.name!r}"
                self.latents[stored] = Latent(where, specs[stored], given)
                self._members[stored] = {f"pools.{name}": (pool.backing,)}
        for index, group in enumerate(plan.groups):
            stored, infos = group_name(index), group.infos
            given = _joined(infos, importance or {}) if importance else None
            where = infos[0].name + (f" and {len(infos) - 1} more" if infos[1:] else "")
            self.latents[stored] = Latent(where, specs[stored], given)
            self._members[stored] = {f"module.{i.name}": i.shape for i in infos}
        names = {name for members in self._members.values() for name in members}
        self._aliases = {
            f"module.{alias}": f"module.{root}"
            for alias, root in plan.aliases.items()
            if f"module.{root}" in names
        }
        self.names = names | self._aliases.keys()

    def __bool__(self) -> bool:
        return bool(self.latents)

    @contextmanager
    def in_place(self, step: int, steps: int) -> Iterator[None]:
        """Coded values in the student for as long as the block lasts, in which a step
        of a run is computed; then its latents again.

        Raises:
            TrainingError: A latent is NaN or infinite.
        """
        self._before.clear()
        try:
            for stored, tensors in self._tensors():
                latent, values = self.latents[stored], _flat(tensors)
                if _is_moment(step, steps):
                    values = latent.advance(values, step / steps)
                self._before[stored] = values
                _put(tensors, latent.fake(values, step / steps))
            yield
        finally:
            for stored, tensors in self._tensors():
                if stored in self._before:
                    _put(tensors, self._before[stored])

    @torch.no_grad()
    def refine_gradients(self) -> None:
        """Make the latents' gradients of their coded values'."""
        for stored, tensors in self._tensors():
            gradients = [
                torch.zeros_like(t) if t.grad is None else t.grad for t in tensors
            ]
            latent, values = self.latents[stored], _flat(tensors)
            refined = latent.refined(values, _flat(gradients))
            for tensor, part in _parts(refined, tensors):
                if tensor.grad is not None:
                    tensor.grad.copy_(part)

    @torch.no_grad()
    def hold(self) -> None:
        """After a step: undo what it must not have done."""
        for stored, tensors in self._tensors():
            before = self._before[stored]
            _put(tensors, self.latents[stored].held(before, _flat(tensors)))

    def encode(
        self, weights: Mapping[str, Tensor], latents: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The bytes that a file would hold, ``(nbytes,)`` uint8 each.

        Args:
            weights: Latents, or their running mean.
            latents: Latents.

        Raises:
            TrainingError: A value is NaN or infinite.
        """
        self._latest = {
            stored: self.latents[stored].encode(
                _flat([weights[name] for name in members]),
                _flat([latents[name] for name in members]),
            )
            for stored, members in self._members.items()
        }
        return {
            stored: torch.from_numpy(np.array(found.data))
            for stored, found in self._latest.items()
        }

    def decode(self, held: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The student's tensors from what a file holds, bytes decoded."""
        values: dict[str, Tensor] = {}
        for stored, tensor in held.items():
            if stored not in self.latents:
                values[stored] = tensor
                continue
            flat, at = self.latents[stored].decode(tensor.cpu()), 0
            for name, shape in self._members[stored].items():
                end = at + math.prod(shape)
                values[name], at = flat[at:end].view(shape), end
        return values | {alias: values[root] for alias, root in self._aliases.items()}

    def keep(self) -> None:
        """Remember what was encoded last as the best."""
        self.best = dict(self._latest)

    def state(self) -> dict[str, Tensor]:
        """What the next steps depend on beside the latents."""
        return {
            f"{name}/{key}": value
            for name, latent in self.latents.items()
            for key, value in latent.state().items()
        }

    def sizes(self) -> dict[str, Any]:
        """What is known of :attr:`best` beside the bytes, as JSON values."""
        return {
            name: {"stages": found.stages, "entropy_nbytes": found.entropy_nbytes}
            for name, found in self.best.items()
        }

    def restore(
        self,
        state: Mapping[str, Tensor],
        best: Mapping[str, Tensor],
        sizes: Mapping[str, Any],
    ) -> None:
        """Go back to a :meth:`state`, to the bytes of :attr:`best` and its
        :meth:`sizes`."""
        device = next(iter(self.student.parameters())).device
        for name, latent in self.latents.items():
            keys = {k.rpartition("/")[2] for k in state if k.rpartition("/")[0] == name}
            latent.restore({key: state[f"{name}/{key}"] for key in keys}, device)
        self.best = {
            name: Encoded(
                best[name].numpy(),
                tuple(StageSize(*stage) for stage in found["stages"]),
                found["entropy_nbytes"],
            )
            for name, found in sizes.items()
        }

    def _tensors(self) -> Iterator[tuple[str, list[Tensor]]]:
        """What is coded of the parameters, with what is stored with it.  Buffers are
        coded in the file alone."""
        if not self.latents:
            return
        parameters = dict(self.student.named_parameters())
        found = {**dict(self.student.named_buffers()), **parameters}
        for stored, members in self._members.items():
            if parameters.keys() & members.keys():
                yield stored, [found[name] for name in members]


def _is_moment(step: int, steps: int) -> bool:
    """Whether schedules go on before a step; a function of the step alone, so that a
    resumed run has the same moments."""
    return step == 0 or step * MOMENTS // steps != (step - 1) * MOMENTS // steps


def _joined(
    infos: Sequence[TensorInfo], importance: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Of all tensors of a group; of buffers there is none."""
    parts = [importance.get(i.name, np.zeros(i.numel, "<f4")) for i in infos]
    return np.concatenate(parts)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    """A copy, ``(numel,)``."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _parts(flat: Tensor, like: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Tensors, and their parts of a flat one in their shapes."""
    at = 0
    for tensor in like:
        yield tensor, flat[at : at + tensor.numel()].view_as(tensor)
        at += tensor.numel()


@torch.no_grad()
def _put(tensors: Sequence[Tensor], values: Tensor) -> None:
    """Copy flat values into parameters, where their views look; not into buffers."""
    for tensor, part in _parts(values, tensors):
        if isinstance(tensor, nn.Parameter):
            tensor.copy_(part)
