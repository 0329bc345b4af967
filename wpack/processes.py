"""Several processes that train one network together, as torchrun starts them.

Each has the whole student and computes its share of every batch; before each step of
the optimiser their gradients are averaged, so that all take the same step.  Without
torchrun there is one process, and nothing here costs anything.

There is no ``DistributedDataParallel``, and no accelerate ``Accelerator``, around the
student.  They send gradients while the backward pass still goes on, which gains nothing
here: a pool's gradient is complete when the last of its readers is done.  And they
would send whole buffers before each forward pass, want to be told of micro-batches, and
rename the student's tensors.  One message a pool afterwards, and one for all that is
kept, is less of everything.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from .errors import TrainingError, UsageError, WpackError
from .stopping import Elsewhere, Stop

#: How long processes wait for one that does not answer.  One that has ended is noticed
#: at once; the others wait like this while the first writes a state or the result.
PATIENCE = timedelta(minutes=30)

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Processes:
    """All processes of a run, seen from one of them.

    What is called together has to be called by all of them, in the same order.

    Attributes:
        rank: This one's number, from 0; the first writes and speaks for all.
        count: How many there are.
        device: This one's own; None where it is alone, and may take any.
    """

    rank: int = 0
    count: int = 1
    device: torch.device | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes files and speaks."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This process's share of ``count`` rows: disjoint ones, as equal as can be."""
        begin, end = (rank * count // self.count for rank in (self.rank, self.rank + 1))
        return slice(begin, end)

    def agree(self, code: int) -> int:
        """The largest of all processes' codes; called together."""
        if self.count == 1:
            return code
        word = torch.tensor(code)
        with self._waiting():
            distributed.all_reduce(word, distributed.ReduceOp.MAX)
        return int(word)

    def agreeing(self, stop: Stop) -> Stop:
        """A ``stop`` that says what any process's own does; asked together."""
        return lambda: self.agree(stop())

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all processes, by rank; called together."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        with self._waiting():
            distributed.all_gather_object(found, value)
        return found

    def by_first(self, function: Callable[[], _Value]) -> _Value:
        """What the first process gets from a function that it alone calls; called
        together.  The others wait for it, and it must not call anything together.

        Raises:
            WpackError: What the function raised, in all processes; in the others with
                :class:`~wpack.stopping.Elsewhere` for its cause.
        """
        if self.count == 1:
            return function()
        told: list[Any] = [None]
        failure: WpackError | None = None
        if self.is_first:
            try:
                told = [(function(), None)]
            except WpackError as error:
                failure = error
                told = [(None, (type(error), error.args, error.__dict__))]
        with self._waiting():
            distributed.broadcast_object_list(told, src=0)
        if failure is not None:
            raise failure
        value, failed = told[0]
        if failed is not None:
            raise self.told(_again(*failed))
        found: _Value = value
        return found

    def told(self, error: WpackError) -> WpackError:
        """An error that all processes have come to, with
        :class:`~wpack.stopping.Elsewhere` for its cause where another tells of it."""
        if not self.is_first:
            error.__cause__ = Elsewhere("the first process tells of it")
        return error

    def spread(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the first one's values, in place; called together."""
        for tensor in tensors if self.count > 1 else ():
            flat = tensor.detach().contiguous().reshape(-1)
            with self._waiting():
                distributed.broadcast(flat.view(torch.uint8), src=0)  # of any dtype
            tensor.detach().copy_(flat.view(tensor.shape))

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the mean of their values, in place and in one message;
        called together.

        In float64, so that float32 values that are the same everywhere stay so.
        """
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().reshape(-1).double() for tensor in tensors])
        with self._waiting():
            distributed.all_reduce(flat)
        _put(flat / self.count, tensors)

    def average_gradients(
        self, pools: Sequence[Tensor], kept: Sequence[Tensor], loss: Tensor
    ) -> Tensor:
        """Give all processes the mean of their gradients; called together.

        One message a pool; one for all other parameters, which the loss and the counts
        of gradients travel with.  A parameter without a gradient in some processes has
        a share of zeros there, and one without a gradient in all of them gets none.

        Args:
            pools: Parameters, the same ones in the same order in all processes.
            kept: Likewise.
            loss: 0-d.

        Returns:
            The mean loss, 0-d, on its device.
        """
        if self.count == 1:
            return loss
        both = [*pools, *kept]
        has = [parameter.grad is not None for parameter in both]
        gradients = [_gradient(parameter) for parameter in both]
        alone, together = gradients[: len(pools)], gradients[len(pools) :]
        head = [loss.detach().float().reshape(1), _flags(has, loss.device)]
        flat = torch.cat([*head, *(gradient.reshape(-1) for gradient in together)])
        with self._waiting():
            work = [
                distributed.all_reduce(message, async_op=True)
                for message in (*alone, flat)
            ]
            for each in work:
                each.wait()
        for message in (*alone, flat):
            message.div_(self.count)
        _put(flat[1 + len(both) :], together)
        for at, parameter in enumerate(both):
            # Read from a device, which waits for it, only where one is missing here.
            if has[at] or float(flat[1 + at]):
                parameter.grad = gradients[at]
        return flat[0].clone()

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        """Tell in words that another process is gone."""
        try:
            yield
        except RuntimeError as error:
            raise TrainingError(
                "another process has ended, or has not answered for"
                f" {PATIENCE.seconds // 60} minutes",
                where=f"process {self.rank + 1} of {self.count}",
                hint="It tells why where it could; --resume auto goes on from the last"
                " state that was saved",
            ) from error


#: The one process that there is without torchrun.
ALONE = Processes()


def started() -> int:
    """How many processes torchrun has started; 1 without it.

    Raises:
        UsageError: The environment says something else.
    """
    said = os.environ.get("WORLD_SIZE", "1")
    if not said.isdecimal() or int(said) < 1:
        raise UsageError(
            f"should be a number of processes, not {said!r}",
            where="WORLD_SIZE",
            hint="torchrun sets it; unset it to train in one process",
        )
    return int(said)


def join(device: str = "auto") -> Processes:
    """The processes that torchrun has started, this one among them; :data:`ALONE`
    without it.  They find each other when this is first called.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``: a GPU for each, or none for all.

    Raises:
        UsageError: The device is another, or there are fewer GPUs than processes.
        TrainingError: The processes do not find each other.
    """
    if started() == 1:
        return ALONE
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"{started()} processes cannot have one device",
            where=f"device {device!r}",
            hint="auto gives each a GPU of its own",
        )
    on_cpu = device == "cpu" or not (device == "cuda" or torch.cuda.is_available())
    if not on_cpu:
        _check_gpus()
    # accelerate picks the device and starts the group; it keeps them for the process.
    from accelerate import PartialState

    # Small messages on the CPU do not wait for a GPU, and are not waited for by it.
    options = {} if on_cpu else {"backend": "cpu:gloo,cuda:nccl"}
    try:
        state = PartialState(cpu=on_cpu, timeout=PATIENCE, **options)
    except (RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"the processes do not find each other: {reason}",
            where="torchrun",
            hint="Another --master-port may be free",
        ) from error
    atexit.register(_leave)
    return Processes(state.process_index, state.num_processes, state.device)


def _check_gpus() -> None:
    here, gpus = os.environ.get("LOCAL_WORLD_SIZE", "1"), torch.cuda.device_count()
    if int(here) > gpus:
        raise UsageError(
            f"{here} processes were started on a machine with {gpus} GPUs",
            where="torchrun",
            hint=f"Start --nproc-per-node {gpus}" if gpus else "Give --device cpu",
        )


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def _again(kind: type[WpackError], args: Any, fields: Any) -> WpackError:
    """An error as it was raised elsewhere; their constructors differ."""
    error: WpackError = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


def _flags(has: Sequence[bool], device: torch.device) -> Tensor:
    """1 and 0, float32.  Copied from here only where there is a 0: a copy would wait
    for the device."""
    if all(has):
        return torch.ones(len(has), device=device)
    return torch.tensor(has, dtype=torch.float32).to(device)


def _gradient(parameter: Tensor) -> Tensor:
    gradient = parameter.grad
    return torch.zeros_like(parameter) if gradient is None else gradient


@torch.no_grad()
def _put(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy the parts of a flat tensor back to where they come from."""
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))
