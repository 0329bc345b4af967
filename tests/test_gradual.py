"""Gradual tying: networks between a checkpoint and its ties."""

from __future__ import annotations

import copy
import io
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from tests.indexed import Net, gathered, loss_of, planned, sgd, tokens
from tests.tiny import Points, network, recipe, tied
from wpack import api, techniques
from wpack.errors import UsageError
from wpack.events import Evaluated, Step
from wpack.finetune import finetune
from wpack.gradual import Gradual
from wpack.plan import Plan
from wpack.spec import parse
from wpack.student import tie
from wpack.tie import Tied

points = Points()
SPEC = """
version: 1
pools: {main: {tensors: ["?.weight"], ratio: 2}}
finetune:
  task: tests.test_gradual:points
  epochs: 2
  batch_size: 8
  distill: null
  precision: float32
  optimizer: {name: sgd, lr: 1e-2}
"""


def loosened() -> tuple[Tied, Net, dict[str, Tensor]]:
    """The net with one of everything, loosened, as it was before, and its pools."""
    torch.manual_seed(0)
    model = Net()
    plan = planned(model)
    before = copy.deepcopy(model)
    backing = {pool.name: 0.3 * torch.randn(pool.backing) for pool in plan.pools}
    values = {name: value.numpy().copy() for name, value in backing.items()}
    return tie(model, plan, values, gradually=True), before, backing


def between(plan: Plan, net: Net, pools: dict[str, Tensor], share: float) -> Any:
    """What the net should compute, by indices and autograd: the residuals are those
    from the pools' first values."""
    first = gathered(plan, {n: p.detach().clone() for n, p in pools.items()})
    own = net.state_dict()
    residuals = {name: own[name] - made for name, made in first.items()}

    def call(batch: Tensor) -> Any:
        made = gathered(plan, pools)
        mixed = {n: v + share * residuals[n] for n, v in made.items()}
        aliases = {a: mixed[b] for a, b in plan.aliases.items() if b in mixed}
        return functional_call(net, mixed | aliases, (batch,))

    return call


def test_from_the_original_to_the_ties() -> None:
    """All of the residuals there: the network that was tied.  None: its ties."""
    model, before, _ = loosened()
    assert model.residuals is not None
    whole = model(tokens())
    model.residuals.share = 1.0
    loose = model(tokens())
    model.tighten()

    torch.testing.assert_close(loose, before(tokens()))
    assert torch.equal(whole, model(tokens()))
    assert not torch.allclose(whole, loose)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_steps_in_between(share: float) -> None:
    """Losses and pools after some steps are those of the same training written with
    indices: fused, shared, wrapping and recurrent weights, gradients accumulated."""
    model, before, backing = loosened()
    assert model.residuals is not None
    model.residuals.share = share
    pools: dict[str, Tensor] = {n: nn.Parameter(v) for n, v in backing.items()}
    expected = between(model.plan, before, pools, share)
    names = {t.name for t in model.plan.kept}
    kept = [p for n, p in before.named_parameters() if n in names]
    losses: list[list[float]] = []
    for call, parameters in (
        (model, list(model.parameters())),
        (expected, [*pools.values(), *kept]),
    ):
        optimizer = sgd(parameters)
        losses.append([])
        for step in range(4):
            optimizer.zero_grad()
            for seed in (step, step + 1):
                loss = loss_of(call, seed)
                loss.backward()
                losses[-1].append(loss.item())
            optimizer.step()

    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=0.0)
    for name, pool in pools.items():
        torch.testing.assert_close(model.backing()[name], pool.detach())


@pytest.mark.parametrize("technique", techniques.names())
def test_every_technique(technique: str) -> None:
    """Weights that are computed fade as those that are views do."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.Linear(8, 4, bias=False))
    text = f"{{technique: {technique}, tensors: ['*'], ratio: 2}}"
    plan = planned(model, f"version: 1\npools: {{p: {text}}}")
    original = {name: value.clone() for name, value in model.state_dict().items()}
    values = {"p": np.random.default_rng(0).normal(size=plan.pools[0].backing)}
    student = tie(model, plan, values, gradually=True)
    made = {name: value.clone() for name, value in student.working().items()}
    assert student.residuals is not None
    student.residuals.share = 0.25

    for name, value in student.working().items():
        expected = 0.75 * made[name] + 0.25 * original[name]
        torch.testing.assert_close(value, expected)
    gradients = []
    for loose in (True, False):
        # Of a sum of weights, what is added to them is no part.
        sum(value.sum() for value in _weights(student)).backward()
        (pool,) = student.pools.parameters()
        assert pool.grad is not None
        gradients.append(pool.grad.clone())
        pool.grad = None
        if loose:
            student.tighten()
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def _weights(student: Tied) -> list[Tensor]:
    """Working weights with the graph behind them."""
    student.refresh()
    return [layer.weight for layer in student.module]  # type: ignore[union-attr]


def test_views_come_back() -> None:
    """What is a view without residuals is one again when they are gone, and so is their
    memory."""
    model, _, backing = loosened()
    assert model.residuals is not None
    held = [weakref.ref(value) for value in model.residuals.values.values()]
    loose = model.copied_nbytes
    model.tighten()
    fresh = Tied(Net(), planned(Net()), backing)

    assert loose > model.copied_nbytes == fresh.copied_nbytes
    assert [None] * len(held) == [ref() for ref in held]


def test_loosened_anew() -> None:
    """Residuals are from the ties alone, whatever residuals there were."""
    model, before, _ = loosened()
    assert model.residuals is not None
    model.residuals.share = 1.0
    model.loosen({n: v.clone() for n, v in before.state_dict().items()})
    model.residuals.share = 1.0

    torch.testing.assert_close(model(tokens()), before(tokens()))


@pytest.mark.parametrize("how", ["copied", "saved", "moved"])
def test_residuals_survive(how: str) -> None:
    """Copies, pickles and casts of a loose network are as loose."""
    model, _, _ = loosened()
    assert model.residuals is not None
    model.residuals.share = 0.5
    expected = model(tokens())
    other = model
    if how == "copied":
        other = copy.deepcopy(model)
        model.tighten()
    elif how == "saved":
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        other = torch.load(file, weights_only=False)
    else:
        other = model.double()
        assert torch.float64 == next(iter(other.working().values())).dtype

    torch.testing.assert_close(other(tokens()).float(), expected)


def test_schedule() -> None:
    """The share falls straight to zero, and is there inside a step alone; the residuals
    go with the first step that needs none."""
    model, _, _ = loosened()
    gradual, shares = Gradual(model, 0.4), []
    for step in range(10):
        with gradual.at(step / 10):
            shares.append(model.residuals and round(model.residuals.share, 9))
        assert model.residuals is None or 0.0 == model.residuals.share

    assert [1.0, 0.75, 0.5, 0.25] + 6 * [None] == shares


def test_a_run_starts_as_the_checkpoint(tmp_path: Path) -> None:
    """Its first loss is that of the untied network; the evaluation before it, like the
    file at the end, is that of whole ties."""
    checkpoint = tmp_path / "tiny.safetensors"
    save_file(network().state_dict(), checkpoint)
    losses, scores = {}, {}
    for name, more in (("whole", ""), ("gradual", "  gradual: 0.5\n"), ("untied", "")):
        text = SPEC.replace("ratio: 2", "ratio: 1") if name == "untied" else SPEC
        spec, output = parse(text + more), tmp_path / f"{name}.wpool"
        events = list(api.finetune(checkpoint, spec, output, device="cpu"))
        losses[name] = [e.loss for e in events if isinstance(e, Step)]
        scores[name] = [
            e.metrics for e in events if isinstance(e, Evaluated) and e.step == 0
        ]
        found = api.evaluate(
            output, "tests.test_gradual:points", device="cpu", batch_size=8
        )
        assert found == [e for e in events if isinstance(e, Evaluated)][-1].metrics

    assert losses["gradual"][0] == pytest.approx(losses["untied"][0], rel=1e-5)
    assert losses["gradual"][0] != pytest.approx(losses["whole"][0], rel=1e-2)
    assert scores["gradual"] == scores["whole"] != scores["untied"]


@pytest.mark.parametrize(
    ("source", "key", "expected"),
    [
        ("m.wpool", "gradual", "the ties of a .wpool are whole, and cannot fade in"),
        (None, "gradual", "there is no trained network to fade out"),
        (None, "calibrate", "there is no trained network to calibrate"),
    ],
)
def test_nothing_to_fade(
    tmp_path: Path, source: str | None, key: str, expected: str
) -> None:
    """What has no untied weights, or none that were trained, is refused."""
    checkpoint = tmp_path / "tiny.safetensors"
    save_file(network().state_dict(), checkpoint)
    api.compress(checkpoint, parse(SPEC), tmp_path / "m.wpool")
    more = f"  {key}: {0.5 if key == 'gradual' else 2}\n"
    with pytest.raises(UsageError, match=expected) as caught:
        list(
            api.finetune(
                source and tmp_path / source,
                parse(SPEC + more),
                tmp_path / "out.wpool",
                device="cpu",
            )
        )

    assert f"finetune.{key}" == str(caught.value.where)
    assert not (tmp_path / "out.wpool").exists()


@pytest.mark.parametrize("gradual", [0.0, 0.5, 0.95])
def test_runs_are_of_whole_ties(gradual: float) -> None:
    """Whatever share a student comes with, its evaluations are those of its pools; and
    it goes without residuals, however long they were to last."""
    scores = []
    for loose in (True, False):
        student = tied()
        if loose or gradual:
            student.loosen(network().state_dict())
        if loose:
            assert student.residuals is not None
            student.residuals.share = 1.0
        made = recipe(gradual=gradual, steps=4, epochs=None)
        events = list(finetune(student, Points(), made, device="cpu"))
        assert student.residuals is None
        scores.append([e.metrics for e in events if isinstance(e, Evaluated)])

    assert scores[0] == scores[1]


@pytest.mark.parametrize("student", [tied(), network()], ids=["tied", "untied"])
def test_students_of_the_library(student: nn.Module) -> None:
    """A network without residuals is no silent exception."""
    with pytest.raises(UsageError, match="no residuals of a projection"):
        list(finetune(student, Points(), recipe(gradual=0.5), device="cpu"))
