"""Compiled models, gradient checkpointing and TF32: the same training, undone at its
end."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.tiny import Points, network, recipe, tied
from wpack.data import TensorData
from wpack.devices import Placement
from wpack.errors import UsageError
from wpack.events import Evaluated, Finished, Step
from wpack.finetune import finetune
from wpack.speed import quicken

CPU = Placement(torch.device("cpu"))


def numbers(student: nn.Module, task: Any = None, **options: Any) -> list[float]:
    """Losses of all steps, and metrics of all evaluations, of a run."""
    wanted = recipe(epochs=2, distill={"weight": 0.5}, **options)
    found: list[float] = []
    for event in finetune(
        student, task or Points(), wanted, teacher=network(1), device="cpu"
    ):
        if isinstance(event, Step):
            found.append(event.loss)
        elif isinstance(event, Evaluated):
            found += event.metrics.values()
        elif isinstance(event, Finished):
            found += [v for metrics in event.after.values() for v in metrics.values()]
    return found


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Makes ``torch.compile`` use a backend that needs no compiler."""
    torch.compiler.reset()

    def use(name: Any) -> None:
        compiled = partial(torch.compile, backend=name)
        monkeypatch.setattr(torch, "compile", compiled)

    return use


def test_compiled(backend: Callable[[Any], None]) -> None:
    """Steps, evaluations of the weights as stored, and the result are those of the
    model as it was."""
    backend("eager")
    student, task = tied("bfloat16"), Points(train=24, validation=6)
    actual = numbers(student, task, ema=0.9, compile=True)
    expected = numbers(tied("bfloat16"), task, ema=0.9)

    assert expected == pytest.approx(actual, abs=1e-5)
    assert "forward" not in vars(student.module)


def test_what_is_compiled(backend: Callable[[Any], None]) -> None:
    """Student and teacher, each as a whole, without the hook of the ties; and both are
    given back, with a forward of their own if they had one."""
    graphs: list[torch.fx.GraphModule] = []

    def keep(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    backend(keep)
    student, teacher = tied(), network(1)
    own = teacher.forward = teacher.forward
    with quicken(student, teacher, recipe(compile=True, distill={}), CPU):
        student(torch.ones(4, 2))
        teacher(torch.ones(4, 2))

    assert 2 == len(graphs)
    assert own is teacher.__dict__["forward"]
    assert "forward" not in vars(student.module)


def test_no_compiler(backend: Callable[[Any], None]) -> None:
    """What the backend lacks is told with the way out; nothing goes on without it."""

    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler\nis here")

    backend(broken)
    with pytest.raises(UsageError) as caught:
        numbers(tied(), compile=True)

    assert (
        "finetune.compile: the model cannot be compiled: RuntimeError: no C++ compiler."
        " It takes a C++ compiler (the environment's CXX names one), or Triton on a"
        " GPU; set it to false to train without"
    ) == str(caught.value)


class Checkpointed(nn.Module):
    """Points' network that can compute its activations again, as timm's models can."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.on: list[bool] = []

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.on.append(enable)

    def forward(self, points: Tensor) -> Any:
        if self.on[-1:] == [True] and self.training:
            return checkpoint(self.body, points, use_reentrant=False)
        return self.body(points)


class Transformer(Checkpointed):
    """Likewise, as transformers' models can."""

    def __init__(self) -> None:
        super().__init__()
        self.config = SimpleNamespace(use_cache=True)

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: dict[str, Any]
    ) -> None:
        self.on.append(not gradient_checkpointing_kwargs["use_reentrant"])

    def gradient_checkpointing_disable(self) -> None:
        self.on.append(False)


@pytest.mark.parametrize("kind", [Checkpointed, Transformer])
def test_gradient_checkpointing(kind: type[Checkpointed]) -> None:
    """It is turned on for the run, wherever in the model it is, and off again; batch
    norm, which sees each batch twice then, learns the same but for its statistics."""

    model, plain = nn.Sequential(kind()), nn.Sequential(kind())
    actual = numbers(model, Points(train=26), gradient_checkpointing=True)

    assert numbers(plain, Points(train=26)) == pytest.approx(actual, abs=1e-6)
    assert [True, False] == model[0].on
    assert [] == plain[0].on


def test_caches_are_off_while_it_is_on() -> None:
    """Keys and values are not kept while activations are not."""
    model = Transformer()
    with quicken(model, None, recipe(gradient_checkpointing=True), CPU):
        assert not model.config.use_cache

    assert model.config.use_cache


def test_no_gradient_checkpointing() -> None:
    """A model that has none is told of, by the kind it is."""
    with pytest.raises(UsageError) as caught:
        quicken(tied(), None, recipe(gradient_checkpointing=True), CPU)

    assert (
        "finetune.gradient_checkpointing: a Sequential has none of its own: neither"
        " gradient_checkpointing_enable() as transformers' models nor"
        " set_grad_checkpointing() as timm's. Set it to false; finetune.accumulate"
        " saves memory with any model"
    ) == str(caught.value)


def test_refused_gradient_checkpointing() -> None:
    """timm's and transformers' models have the method even where they cannot."""

    class Refusing(nn.Identity):
        def set_grad_checkpointing(self, enable: bool = True) -> None:
            raise AssertionError("gradient checkpointing not supported")

    with pytest.raises(UsageError) as caught:
        quicken(Refusing(), None, recipe(gradient_checkpointing=True), CPU)

    assert (
        "finetune.gradient_checkpointing: a Refusing refuses it: gradient checkpointing"
        " not supported. Set it to false"
    ) == str(caught.value)


@pytest.mark.parametrize(
    ("device", "precision", "expected"),
    [
        ("cuda", "bfloat16", "high"),
        ("cuda", "float32", "highest"),
        ("cpu", "bfloat16", "highest"),
    ],
)
def test_tf32(device: str, precision: str, expected: str) -> None:
    """Only beside half precision, and only on a GPU; who asks for float32 has it."""
    placement = Placement(torch.device(device), precision)
    with quicken(network(), None, recipe(), placement):
        assert expected == torch.get_float32_matmul_precision()

    assert "highest" == torch.get_float32_matmul_precision()


class Images(Points):
    """Its points as images of 2×2 equal pixels."""

    formats: set[bool]

    def model(self) -> nn.Module:
        return nn.Sequential(_Look(self), network())

    def data(self, split: str) -> TensorData | None:
        points, labels = Points().data(split).tensors
        return TensorData(points[:, :, None, None].repeat(1, 1, 2, 2), labels)


class _Look(nn.Module):
    """Takes a pixel of images, and notes their format."""

    def __init__(self, task: Images) -> None:
        super().__init__()
        self.task = task

    def forward(self, images: Tensor) -> Tensor:
        last = images.is_contiguous(memory_format=torch.channels_last)
        self.task.formats.add(last)
        return images[:, :, 0, 0]


@pytest.mark.parametrize("last", [True, False])
def test_channels_last(last: bool) -> None:
    """The model gets images in the format asked for, in training and evaluation."""
    task = Images()
    task.formats = set()
    wanted = recipe(epochs=1, distill=None, channels_last=last)
    list(finetune(task.model(), task, wanted, device="cpu"))

    assert {last} == task.formats
