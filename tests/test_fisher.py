"""The diagonal Fisher information: by its formula, and by both ways to measure it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Points
from wpack import sampling
from wpack.data import TensorData
from wpack.devices import place
from wpack.errors import TrainingError
from wpack.fisher import fisher, one_by_one, together
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.stopping import Interrupted
from wpack.tasks import Task
from wpack.tensors import BY_NAME, TensorInfo

PLACEMENT = place("cpu", "float32")
EXAMPLES = 7


class Softmax(Task):
    """Three inputs, four classes, one matrix."""

    def model(self) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return nn.Linear(3, 4)

    def data(self, split: str) -> TensorData:
        generator = torch.Generator().manual_seed(1)
        inputs = torch.randn(EXAMPLES, 3, generator=generator)
        return TensorData(inputs, torch.arange(EXAMPLES) % 4)


class Stubborn(nn.Module):
    """A network that asks a tensor for its value, which ``torch.func`` cannot answer
    for many examples at once."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, inputs: Tensor) -> Tensor:
        return self.inner(inputs) if float(inputs.abs().sum()) >= 0 else inputs


def measured(model: nn.Module, task: Task, **options: Any) -> dict[str, np.ndarray]:
    """Of as many examples as there are, unless told otherwise."""
    defaults = {"samples": 1000, "placement": PLACEMENT}
    return fisher(model, task, task.data("train"), **{**defaults, **options})


def planned(model: nn.Module, spec: str) -> Plan:
    """A plan for a model."""
    float32 = BY_NAME["float32"]
    infos = [
        TensorInfo(name, float32, tuple(tensor.shape))
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    ]
    return make_plan(parse(spec), infos).plan


def gradients(task: Task, model: nn.Module) -> dict[str, Tensor]:
    """Parameter → its derivatives, an example at a time, by autograd alone."""
    data = task.data("train")
    found: dict[str, list[Tensor]] = {}
    for row in range(len(data)):
        batch = data.batch(torch.tensor([row]), torch.Generator())
        model.zero_grad()
        task.loss(model(task.inputs(batch)), batch).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            found.setdefault(name, []).append(parameter.grad.reshape(-1).clone())
    model.zero_grad()
    return {name: torch.stack(each) for name, each in found.items()}


def test_formula() -> None:
    """For softmax models, F of weight (c, i) is the mean of (p_c - y_c)² x_i²."""
    task = Softmax()
    model = task.model()
    inputs, labels = task.data("train").tensors
    surplus = torch.softmax(model(inputs), 1) - nn.functional.one_hot(labels, 4)
    expected = (surplus.square().T @ inputs.square() / EXAMPLES).detach()
    found = measured(model, task)

    assert {"weight", "bias"} == found.keys()
    assert expected.reshape(-1).numpy() == pytest.approx(found["weight"], rel=1e-5)
    assert surplus.square().mean(0).tolist() == pytest.approx(
        found["bias"].tolist(), rel=1e-5
    )


def test_together_is_one_by_one() -> None:
    """Both ways give the derivatives of each example; dropout and batch norm sleep."""
    task = Points(train=9)
    model = task.model().eval()
    data = task.data("train")
    assert data is not None
    batch = data.batch(torch.arange(9), torch.Generator())

    expected = [*one_by_one(model, task, batch)]
    found = together(model, task, batch)

    assert 9 == len(expected)
    for name, each in found.items():
        apart = torch.cat([alone[name] for alone in expected])
        assert apart.shape == each.shape
        assert torch.allclose(apart, each, rtol=1e-4, atol=1e-7)


def test_model_that_allows_one_by_one_alone() -> None:
    """What torch.func cannot do is done one by one; the model is left as it was."""
    task = Softmax()
    inner = task.model()
    model = Stubborn(inner).train()
    inner.bias.requires_grad_(False)
    expected = measured(task.model(), task)
    found = measured(model, task)

    assert {f"inner.{name}" for name in expected} == found.keys()
    for name, each in expected.items():
        assert each == pytest.approx(found[f"inner.{name}"], rel=1e-5)
    assert model.training
    assert [True, False] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize(
    "technique", ["global", "layered", "hashed", "outer", "all_pairs"]
)
def test_pool_is_of_folded_derivatives(technique: str) -> None:
    """F of a backing weight is the mean of the square of what its pool's derivative is
    for an example, whatever the technique."""
    task = Points(train=5)
    model = task.model().eval()
    spec = f"""
version: 1
pools: {{main: {{technique: {technique}, tensors: ["4.weight", "6.weight"], ratio: 2}}}}
"""
    plan = planned(model, spec)
    (pool,) = plan.pools
    values = np.random.default_rng(0).standard_normal(pool.backing).astype("<f4")
    leaf = torch.from_numpy(values).requires_grad_()
    spans = [list(pool.table.pieces(piece)) for piece in pool.table.slices]
    made = [
        pool.technique.expand(
            torch, pool.table, piece, torch.cat([leaf[s : s + n] for s, _, n in span])
        ).reshape(-1)
        for piece, span in zip(pool.table.slices, spans, strict=True)
    ]
    of_weights = measured_gradients(task, model)
    squares = torch.zeros(pool.backing)
    for row in range(5):
        parts = [
            of_weights[p.tensor][row, p.first : p.first + p.numel]
            for p in pool.table.slices
        ]
        total = sum((m * part).sum() for m, part in zip(made, parts, strict=True))
        (folded,) = torch.autograd.grad(total, leaf, retain_graph=True)
        squares += folded.square() / 5
    found = measured(model, task, plan=plan, backing={"main": values})

    assert squares.numpy() == pytest.approx(found["pool/main"], rel=1e-3, abs=1e-9)


def measured_gradients(task: Task, model: nn.Module) -> Mapping[str, Tensor]:
    """The derivatives for the very examples that a measurement fetches."""
    data = task.data("train")
    batch = data.batch(torch.arange(len(data)), sampling.generator(0))
    rows = [*one_by_one(model, task, batch)]
    return {n: torch.cat([r[n] for r in rows]).flatten(1) for n in rows[0]}


def test_shared_weight_has_the_plans_name() -> None:
    """What a model holds twice has one Fisher information, under the name in a file."""
    task = Softmax()
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 4))
    model.append(nn.Identity())
    model.register_module("again", nn.Sequential(model[0]))
    model.forward = lambda inputs: model[1](model[0](inputs))  # type: ignore[method-assign]
    float32 = BY_NAME["float32"]
    infos = [
        TensorInfo("again.0.weight", float32, (3, 3)),
        TensorInfo("0.weight", float32, (3, 3), "again.0.weight"),
        TensorInfo("1.weight", float32, (4, 3)),
        TensorInfo("1.bias", float32, (4,)),
    ]
    spec = 'version: 1\npools: {main: {tensors: ["1.weight"], ratio: 1}}'
    plan = make_plan(parse(spec), infos).plan
    found = measured(model, task, plan=plan)

    assert {"again.0.weight", "1.weight", "1.bias", "pool/main"} == found.keys()
    assert np.array_equal(found["1.weight"], found["pool/main"])


def test_samples_are_spread_evenly() -> None:
    """Three of seven examples are numbers 0, 2 and 4."""
    task = Softmax()
    model = task.model()
    rows = gradients(task, model)["weight"][[0, 2, 4]]
    expected = rows.square().mean(0)

    assert expected.numpy() == pytest.approx(
        measured(model, task, samples=3)["weight"], rel=1e-5
    )


def test_many_batches_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many examples are computed together does not matter."""
    task = Softmax()
    expected = measured(task.model(), task)["weight"]
    monkeypatch.setattr("wpack.fisher._TOGETHER", 2)

    assert expected == pytest.approx(measured(task.model(), task)["weight"], rel=1e-5)


def test_no_data() -> None:
    """Nothing to measure on is refused."""
    task = Softmax()
    empty = TensorData(torch.empty(0, 3), torch.empty(0, dtype=torch.int64))
    with pytest.raises(TrainingError) as caught:
        fisher(task.model(), task, empty, samples=4, placement=PLACEMENT)

    assert "the data to measure Fisher information on are empty" == str(caught.value)


def test_not_finite() -> None:
    """A derivative that is not a number is told of, with its tensor."""
    task = Softmax()
    model = task.model()
    nn.init.constant_(model.get_parameter("weight"), torch.inf)
    with pytest.raises(TrainingError) as caught:
        measured(model, task)

    assert "weight: has derivatives that are NaN or infinite" == str(caught.value)


def test_fault_of_the_task() -> None:
    """What the task raises is its own fault, and told as such."""

    class Broken(Softmax):
        def inputs(self, batch: Any) -> Any:
            raise KeyError("pixels")

    with pytest.raises(TrainingError) as caught:
        measured(Softmax().model(), Broken())

    assert (
        "Fisher information: KeyError: 'pixels'. --debug shows the traceback"
    ) == str(caught.value)


def test_stopped() -> None:
    """A request to stop is heard before each batch."""
    task = Softmax()
    with pytest.raises(Interrupted) as caught:
        measured(task.model(), task, stop=lambda: 130)

    assert 130 == caught.value.exit_code


class Scaled(Softmax):
    """Batches with a number for all examples."""

    def data(self, split: str) -> Any:
        tensors = super().data(split).tensors

        class Batches:
            def __len__(self) -> int:
                return EXAMPLES

            def batch(self, indices: Tensor, generator: torch.Generator) -> Any:
                return (*(tensor[indices] for tensor in tensors), torch.tensor(1.0))

        return Batches()


@pytest.mark.parametrize("wrap", [nn.Sequential, Stubborn])
def test_a_number_for_all_examples(wrap: Any) -> None:
    """It goes with each of them, computed together or one by one."""
    model = wrap(Softmax().model())
    expected = measured(model, Softmax())
    found = measured(model, Scaled())

    for name, value in expected.items():
        assert value == pytest.approx(found[name], rel=1e-5)
