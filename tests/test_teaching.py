"""A teacher's pull on a student."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Points, Still, network, tied
from wpack.devices import place
from wpack.distill import divergence, relative_error
from wpack.errors import TrainingError, UsageError
from wpack.spec import DistillSpec
from wpack.stopping import never
from wpack.teaching import Answer, Teaching
from wpack.tie import Tied

POINTS = torch.tensor([[0.5, -1.0], [2.0, 0.25], [-1.0, 0.0]])
LABELS = torch.tensor([0, 2, 1])


def teaching(
    student: nn.Module, teacher: nn.Module, run: str = "float32", /, **spec: Any
) -> Teaching:
    """A teacher as a recipe has it, in a run of a precision."""
    wanted = DistillSpec.model_validate(spec)
    return Teaching(teacher, student, Points(), wanted, place("cpu", run))


def answer(found: Teaching, student: nn.Module) -> Answer:
    """A student's, to three points."""
    with found.listening(), found.placement.autocast():
        outputs = student(POINTS)
        loss = Points().loss(outputs, (POINTS, LABELS))
    return Answer(torch.arange(3), (POINTS, LABELS), POINTS, outputs, loss)


def outputs_of(module: nn.Module, *layers: int) -> list[Tensor]:
    """What layers of the network put out for the three points."""
    network = module.module if isinstance(module, Tied) else module
    assert isinstance(network, nn.Sequential)
    return [network[: layer + 1](POINTS) for layer in layers]


@pytest.mark.parametrize("make", [network, tied])
@pytest.mark.parametrize(("anneal", "progress"), [(False, 0.75), (True, 0.75)])
def test_hints_are_added(make: Any, anneal: bool, progress: float) -> None:
    """(1 - w)·task + w·T²·KL, and the hints' mean relative error by its weight, which
    falls as half a cosine; a tied student's modules have the names of its network."""
    student, teacher = make().eval(), network(5)
    hints = {"modules": ["2", "[45]"], "weight": 3.0, "anneal": anneal}
    found = teaching(student, teacher, weight=0.25, temperature=2.0, hints=hints)
    made = answer(found, student)
    loss = found.loss(made, progress)
    pairs = zip(outputs_of(student, 2, 4, 5), outputs_of(teacher, 2, 4, 5), strict=True)
    hint = torch.stack([relative_error(*pair) for pair in pairs]).mean()
    share = (1 + math.cos(0.75 * math.pi)) / 2 if anneal else 1.0
    distance = divergence(made.logits, teacher(POINTS), 2.0)

    expected = 0.75 * made.loss + 0.25 * distance + 3.0 * share * hint
    assert expected.item() == pytest.approx(loss.item(), rel=1e-5)
    assert 0.5 < hint.item()


def test_hints_teach_what_is_below_them() -> None:
    """Gradients of a hint reach every layer up to its module, and none above."""
    student = network().eval()
    found = teaching(student, network(5), weight=0.0, hints={"modules": ["4"]})
    made = answer(found, student)
    found.loss(replace(made, loss=torch.zeros(())), 0.0).backward()
    taught = {
        n for n, p in student.named_parameters() if p.grad is not None and p.grad.any()
    }

    assert {"0", "1", "4"} == {name.partition(".")[0] for name in taught}


def test_hints_under_autocast() -> None:
    """Errors of half-precision outputs are computed in float32."""
    student = network().eval()
    found = teaching(
        student, network(5), "bfloat16", hints={"modules": ["4"], "anneal": False}
    )
    made = answer(found, student)
    loss = found.loss(made, 0.0)
    loss.backward()

    assert torch.bfloat16 == made.logits.dtype
    assert torch.float32 == loss.dtype
    assert loss.isfinite()


def test_agreement_costs_nothing() -> None:
    """A student that is its teacher has only the labels to learn."""
    student = network().eval()
    found = teaching(student, network(), hints={"modules": ["?"]}, weight=0.5)
    made = answer(found, student)

    assert 0.5 * made.loss.item() == pytest.approx(found.loss(made, 0.3).item())


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own
def test_hints_of_a_compiled_student() -> None:
    """A hook ends the compiled graph where it is: the losses are those of the network
    as written."""
    student, teacher = network().eval(), network(5)
    found = teaching(student, teacher, hints={"modules": ["2", "4"]})
    expected = found.loss(answer(found, student), 0.0)
    compiled = torch.compile(student, backend="eager")
    with torch.no_grad():
        compiled(POINTS)  # as an evaluation before the first step does

    assert expected.item() == found.loss(answer(found, compiled), 0.0).item()


def test_hints_of_a_checkpointed_block() -> None:
    """What is computed a second time on the way back is not heard again."""
    student, teacher = network().eval(), network(5)
    found = teaching(student, teacher, hints={"modules": ["2", "4"]})
    plain = answer(found, student)
    expected = found.loss(plain, 0.0)
    expected.backward()
    grads = [p.grad.clone() for p in student.parameters() if p.grad is not None]
    student.zero_grad()

    def checkpointed(points: Tensor) -> Any:
        assert isinstance(student, nn.Sequential)
        return torch.utils.checkpoint.checkpoint_sequential(
            student, 2, points, use_reentrant=False
        )

    made = answer(found, checkpointed)  # type: ignore[arg-type]
    loss = found.loss(made, 0.0)
    loss.backward()

    assert expected.item() == loss.item()
    for expected_grad, parameter in zip(grads, student.parameters(), strict=True):
        assert torch.equal(expected_grad, parameter.grad)


def test_teacher_without_the_module() -> None:
    """A teacher of another architecture is refused where a hint is about what it has
    not."""
    with pytest.raises(UsageError) as caught:
        teaching(network(), nn.Linear(2, 3), hints={"modules": ["4"]})

    assert (
        "finetune.distill.hints: module '4': the teacher has no such module"
    ) == str(caught.value)


def test_teacher_of_other_classes() -> None:
    """Logits are compared class by class, so there must be as many."""
    student = network().eval()
    found = teaching(student, nn.Linear(2, 5))
    with pytest.raises(TrainingError) as caught:
        found.loss(answer(found, student), 0.0)

    assert (
        "finetune.distill: the student's logits are (3, 3), the teacher's (3, 5)"
    ) == str(caught.value)


def test_closing_leaves_the_student_as_it_was() -> None:
    """No hooks stay, with hints or without."""
    for spec in ({}, {"hints": {"modules": ["?"]}}):
        student, teacher = network(), network(5)
        teaching(student, teacher, **spec).close()
        for module in (*student.modules(), *teacher.modules()):
            assert not module._forward_hooks


def test_teacher_has_the_precision_of_the_run() -> None:
    """Unless it says otherwise; its logits are the same as if it were cast anew at
    each call."""
    teacher = network(5).eval()
    with torch.no_grad(), place("cpu", "bfloat16").autocast():
        expected = teacher(POINTS)
    student = network()
    found = teaching(student, teacher, "bfloat16", weight=1.0)
    found.loss(answer(found, student), 0.0)
    assert torch.bfloat16 == teacher.get_parameter("0.weight").dtype
    with torch.no_grad(), found.placement.autocast():
        assert torch.equal(expected, teacher(POINTS))

    exact = teaching(student, network(5), "bfloat16", precision="float32")
    exact.loss(answer(exact, student), 0.0)
    assert torch.float32 == exact.teacher.get_parameter("0.weight").dtype


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_teacher_is_called_in_its_own_precision(precision: str) -> None:
    """Whatever the student's is, and once a batch, for logits and hints alike."""
    dtypes: list[torch.dtype] = []
    other = {"float32": "bfloat16", "bfloat16": "float32"}[precision]
    student, teacher = network().eval(), network(5)
    teacher.register_forward_hook(lambda _, __, out: dtypes.append(out.dtype))
    found = teaching(
        student, teacher, other, precision=precision, hints={"modules": ["4"]}
    )
    wanted = place("cpu", other)
    with found.listening(), wanted.autocast():
        outputs = student(POINTS)
    batch = (POINTS, LABELS)
    loss = found.loss(
        Answer(torch.arange(3), batch, POINTS, outputs, Points().loss(outputs, batch)),
        0.0,
    )

    assert [getattr(torch, precision)] == dtypes
    assert getattr(torch, other) == outputs.dtype
    assert loss.isfinite()


def test_a_cached_teacher_is_not_asked_again() -> None:
    """Its logits are those that it gives; they are told of, and so are their bytes."""
    student, teacher = network().eval(), network(5)
    found = teaching(student, teacher, cache=True, weight=1.0, temperature=2.0)
    data = Still().data("train")
    assert data is not None
    told = list(found.prepare(data, 7, 0, never))
    teacher.register_forward_pre_hook(lambda *_: pytest.fail("asked again"))
    indices = torch.tensor([20, 3, 11])
    points, labels = (tensor[indices] for tensor in data.tensors)
    outputs = student(points)
    batch = (points, labels)
    loss = found.loss(Answer(indices, batch, points, outputs, outputs.sum()), 0.0)
    expected = divergence(outputs, network(5).eval()(points), 2.0)

    assert expected.item() == pytest.approx(loss.item(), rel=1e-5)
    assert [
        "the teacher is asked about 26 training examples, once",
        "the teacher's logits are kept in memory, 312 bytes",
    ] == told


def test_a_cache_of_a_size() -> None:
    """The spec says how many bytes the logits may take."""
    data = Still().data("train")
    assert data is not None
    found = teaching(network(), network(5), cache=311)
    with pytest.raises(UsageError, match="take 312 bytes, more than the 311 that"):
        list(found.prepare(data, 7, 0, never))
    list(teaching(network(), network(5), cache=312).prepare(data, 7, 0, never))


def test_nothing_to_prepare_without_a_cache() -> None:
    """The teacher is asked at each step, about what the student sees."""
    data = Points().data("train")
    assert data is not None

    assert [] == list(teaching(network(), network(5)).prepare(data, 7, 0, never))


class Mixing(nn.Module):
    """A network that computes with a layer's weight itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Any:
        weight = self.layer.weight
        return self.layer(x) + torch.lerp(weight, torch.ones(3, 2), 0.5).sum(1)


def test_what_to_do_about_a_precision() -> None:
    """Code of the teacher that minds its dtype is told of, with what helps."""
    student, teacher = Mixing(), Mixing()
    found = teaching(student, teacher, "bfloat16")
    found.loss(answer(found, student), 0.0)
    with pytest.raises(TrainingError, match=r"precision to float32$"):
        found.loss(answer(found, student), 0.0)


class Normalising(nn.Module):
    """A network that normalises the images it is given in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Any:
        x = x.sub_(1).div_(0.5) if self.inplace else (x - 1) / 0.5
        return self.layer(x)


@pytest.mark.parametrize(
    ("student", "teacher"), [(True, True), (True, False), (False, True)]
)
def test_inputs_that_a_network_writes_to(student: bool, teacher: bool) -> None:
    """Its teacher sees what it saw, at each step; equal networks agree."""
    one, other = Normalising(student), Normalising(teacher)
    other.load_state_dict(one.state_dict())
    found = teaching(one, other, weight=1.0)
    for _ in range(3):
        points = POINTS.clone()
        taught = found.inputs(points)
        outputs = one(points)
        made = Answer(torch.arange(3), (points, LABELS), taught, outputs, outputs.sum())
        loss = found.loss(made, 0.0)
        loss.backward()

        assert 0 == pytest.approx(loss.item(), abs=1e-6)


def test_one_logit_has_nothing_to_teach() -> None:
    """The softmax of one class is 1 in teacher and student; hints alone may teach."""
    student, teacher = nn.Linear(2, 1), nn.Linear(2, 1)
    outputs = student(POINTS)
    made = Answer(torch.arange(3), (POINTS, LABELS), POINTS, outputs, outputs.sum())
    with pytest.raises(TrainingError, match=r"logits of shape \(3, 1\) have nothing"):
        teaching(student, teacher, weight=0.5).loss(made, 0.0)

    assert outputs.sum() == teaching(student, teacher, weight=0.0).loss(made, 0.0)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_teachers_in_half_precision(precision: str, dtype: torch.dtype) -> None:
    """One is called as it is where the run's precision is its own, and else widened."""
    student, teacher = network(), network(5).to(dtype)
    found = teaching(student, teacher, precision)
    loss = found.loss(answer(found, student), 0.0)

    assert loss.isfinite()
    is_own = getattr(torch, precision) == dtype
    assert (dtype if is_own else torch.float32) == teacher.get_parameter("1.bias").dtype


class Inferring(nn.Module):
    """A teacher whose forward pass is in inference mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


def test_a_teacher_in_inference_mode() -> None:
    """Its tensors have no versions; its hints are as good."""
    student, teacher = Mixing(), Inferring()
    found = teaching(student, teacher, weight=0.5, hints={"modules": ["layer"]})
    for _ in range(2):
        loss = found.loss(answer(found, student), 0.0)
        loss.backward()

    assert loss.isfinite()
