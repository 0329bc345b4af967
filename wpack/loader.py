"""Loading: a ``.wpool`` as torch tensors that are views of the stored pool, or of what
it is decoded to, once, where codecs store it.

Every tensor made from one pool is a view of one storage, which holds the pool as far as
the longest read goes.  So ``torch.save`` and ``deepcopy`` of the whole dict keep the
sharing; what changes values tensor by tensor (``.half()``, ``.to()``, ``deepcopy`` of a
model, pickling) gives each tensor memory of its own, N_w instead of N_b.

Nothing stops a write into a tensor.  With backend ``mmap`` it changes that tensor's
page alone and never the file; with ``writable=True`` it reaches every tensor that
shares the weight.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from . import container, ring
from .errors import CheckpointError, FormatError
from .header import MAX_HEADER
from .plan import Plan
from .pool_file import PoolFile as PoolFile

StrPath = str | os.PathLike[str]
#: Names of each kind that a message lists.
_SHOWN = 5


class Unmatched(NamedTuple):
    """What a model and a file do not have in common.

    Attributes:
        missing: Names of the model that are not in the file.
        unexpected: Names of the file that are not in the model.
    """

    missing: list[str]
    unexpected: list[str]


def open(
    path: StrPath,
    *,
    device: str | torch.device = "cpu",
    backend: str = "auto",
    writable: bool = False,
    verify: bool = False,
    max_header: int = MAX_HEADER,
    max_working_bytes: int | None = None,
) -> PoolFile:
    """Open a ``.wpool``; tensors are made when they are asked for.

    Args:
        device: Where the tensors shall be.  To another device than the CPU each pool
            is copied once, and the working weights are views of it there.
        backend: ``mmap`` maps the file itself: nothing is read before it is used, and
            processes share its pages.  Cutting the file short meanwhile kills the
            process (SIGBUS), and writing to it shows: replace files by renaming, as
            wpack does.  ``memfd`` reads or decodes each pool once, when a tensor of it
            is first asked for, into memory that can be mapped as a ring; processes
            forked later share it, writes included.  ``copy`` needs nothing of the
            system.  ``auto`` takes ``mmap`` on local file systems for files without
            coded pools, else ``memfd``; where the system refuses one, the next is taken
            with a warning.  Values are the same, bit for bit.
        writable: Take no backend in which a write reaches only one of the tensors that
            share the weight.  What ``residence.copied`` names has memory of its own.
        verify: First read the whole file and check its SHA-256 sums.
        max_header: Largest header accepted, in bytes.
        max_working_bytes: Most bytes that the working weights may come to; four times
            the machine's memory unless given.

    Raises:
        FormatError: The file breaks a rule of the format, or ``verify`` found damage.
        StorageError: The file cannot be opened, read or mapped.
        UsageError: ``backend`` is unknown, forbidden by ``WPACK_NO_MMAP=1``,
            cannot be ``writable``, or is ``mmap`` for a file with a coded pool.
    """
    file = container.read(
        path, max_header=max_header, max_working_bytes=max_working_bytes
    )
    try:
        if verify and (problems := container.verify(file)):
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise FormatError(problems[0] + more, where=file.path)
        memory = ring.load(file, backend=backend, writable=writable)
        return PoolFile(file, memory, device)
    except BaseException:
        file.close()
        raise


def load_file(
    path: StrPath, device: str | torch.device = "cpu", **options: Any
) -> dict[str, torch.Tensor]:
    """All tensors of a ``.wpool`` in checkpoint order; aliases are the same object.

    Args:
        options: As for :func:`open`, which also says what is raised.
    """
    with open(path, device=device, **options) as file:
        return file.get_tensors()


def load_model(
    model: nn.Module,
    path: StrPath,
    *,
    strict: bool = True,
    device: str | torch.device | None = None,
    **options: Any,
) -> Unmatched:
    """Put a ``.wpool``'s tensors into a model, as views: nothing is copied into it.

    Parameters become new ones over the file's memory, in the file's dtypes; each keeps
    its ``requires_grad``.  What the model ties (``lm_head`` is ``embed``) stays one
    parameter; what the file ties shares its memory.  A model that is not to hold
    memory of its own before is best built under ``torch.device("meta")``; buffers that
    no checkpoint holds must then be made anew.

    An optimiser step on such parameters would change weights one by one that the pool
    shares: to train, use :class:`wpack.Tied`.  ``copy.deepcopy`` of the model gives
    every parameter memory of its own; loading once more costs nothing.

    Args:
        strict: Refuse a file that lacks a tensor of the model or has one it lacks.
        device: Defaults to the model's own (the CPU if that is ``meta``).
        options: As for :func:`open`, which also says what else is raised.

    Returns:
        What was left as it was, and what was not used; both empty when ``strict``.

    Raises:
        CheckpointError: The file does not fit the model, which is left untouched.
    """
    state = model.state_dict(keep_vars=True)
    wanted = {
        name: value
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and not name.endswith("_extra_state")
    }
    with open(path, device=device or _device_of(wanted), **options) as file:
        sources = _sources(wanted, file)
        missing = [name for name in wanted if name not in sources]
        unexpected = [name for name in file if name not in wanted]
        shapes = _other_shapes(wanted, sources, file.plan)
        problems = [*shapes]
        if strict:
            problems = [*_unmatched(missing, unexpected), *shapes]
        if problems:
            what = f"does not fit the model {type(model).__name__}: "
            raise CheckpointError(what + "; ".join(problems), where=file.path)
        fitted: dict[int, torch.Tensor] = {}
        for name, source in sources.items():
            value = wanted[name]
            if id(value) not in fitted:
                fitted[id(value)] = _like(value, file.get_tensor(source))
    model.load_state_dict(
        {name: fitted[id(wanted[name])] for name in sources}, strict=False, assign=True
    )
    return Unmatched(missing, unexpected)


def _device_of(wanted: Mapping[str, torch.Tensor]) -> torch.device:
    devices = (value.device for value in wanted.values())
    return next((d for d in devices if d.type != "meta"), torch.device("cpu"))


def _sources(wanted: Mapping[str, torch.Tensor], file: PoolFile) -> dict[str, str]:
    """Name in the model → name in the file, for all that the file can fill.

    A name that the model ties to another may be absent.

    Raises:
        CheckpointError: The model ties what differs in the file.
    """
    found: dict[int, str] = {}
    for name, value in wanted.items():
        if name not in file:
            continue
        other = found.setdefault(id(value), name)
        if file.get_tensor(name) is not file.get_tensor(other) and not torch.equal(
            file.get_tensor(name), file.get_tensor(other)
        ):
            raise CheckpointError(
                f"the model ties {name!r} to {other!r}, but the file holds different"
                " values for them",
                where=file.path,
                hint="Untie them in the model",
            )
    return {n: found[id(value)] for n, value in wanted.items() if id(value) in found}


def _other_shapes(
    wanted: Mapping[str, torch.Tensor], sources: Mapping[str, str], plan: Plan
) -> list[str]:
    """One sentence on the tensors whose shapes differ, or none."""
    differing = [
        f"{name} ({list(shape)} in the file, {list(wanted[name].shape)} in the model)"
        for name, source in sources.items()
        if not is_lazy(wanted[name])
        and (shape := plan.by_name[source].info.shape) != tuple(wanted[name].shape)
    ]
    return [_listed("of another shape", differing)] if differing else []


def _unmatched(missing: list[str], unexpected: list[str]) -> list[str]:
    """One sentence on what the file lacks and one on what it has too much."""
    guessed = []
    for name in unexpected[:_SHOWN]:
        near = difflib.get_close_matches(name, missing, 1)
        guessed.append(f"{name} (did you mean {near[0]}?)" if near else name)
    sentences = []
    if missing:
        sentences.append(_listed("missing from the file", missing))
    if unexpected:
        listed = _listed("unknown to the model", [*guessed, *unexpected[_SHOWN:]])
        sentences.append(listed)
    return sentences


def _listed(what: str, names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{more}"


def _like(value: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
    """A parameter where the model has one, else the tensor itself."""
    if isinstance(value, nn.Parameter):
        return nn.Parameter(found, requires_grad=value.requires_grad)
    return found
