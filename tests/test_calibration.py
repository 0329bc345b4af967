"""Calibration of a network: by hand, by its laws, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.tiny import Points, network, same, state_of, tied
from wpack import sampling
from wpack.calibration import calibrate, norms, observe
from wpack.data import TensorData
from wpack.devices import place
from wpack.errors import TrainingError
from wpack.feed import Feed
from wpack.moments import scaled, shifted
from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.stopping import Interrupted
from wpack.tasks import Task
from wpack.tensors import BY_NAME, TensorInfo

EXAMPLES = 7
SHARED = "{version: 1, pools: {main: {tensors: ['*.weight'], ratio: 1.5}}}"


class Unlabelled(Task):
    """Random inputs of a shape, and nothing else: asking for a label fails."""

    def __init__(self, *shape: int, examples: int = EXAMPLES) -> None:
        generator = torch.Generator().manual_seed(1)
        self.examples = torch.randn(examples, *shape, generator=generator)

    def model(self) -> nn.Module:
        raise NotImplementedError

    def data(self, split: str) -> TensorData:
        return TensorData(self.examples)


def feed(task: Task, **options: Any) -> Feed:
    """Two batches of three, unless told otherwise."""
    given = {"batches": 2, "batch_size": 3, "seed": 5, **options}
    return Feed(task, task.data("train"), placement=place("cpu", "float32"), **given)


def planned(model: nn.Module, spec: str = SHARED) -> Plan:
    """A plan for a model."""
    infos: list[TensorInfo] = []
    first: dict[int, str] = {}
    for name, tensor in model.state_dict().items():
        dtype = BY_NAME[str(tensor.dtype).removeprefix("torch.")]
        root = first.setdefault(tensor.data_ptr(), name)
        alias = None if root == name else root
        infos.append(TensorInfo(name, dtype, tuple(tensor.shape), alias))
    return make_plan(parse(spec), infos).plan


def twins(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    """A network, and one with the same biases and other matrices."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        original = make()
        changed = make()
    state = original.state_dict()
    pooled = planned(original).pooled
    state |= {t.name: changed.state_dict()[t.name] for t in pooled}
    changed.load_state_dict(state)
    return original, changed


def calibrated(
    original: nn.Module, changed: nn.Module, given: Feed, spec: str = SHARED
) -> dict[str, Tensor]:
    """The second calibrated on the first."""
    plan = planned(original, spec)
    return calibrate(changed, plan, given, observe(original, plan, given))


def rows(model: nn.Module, inputs: Tensor, channels: int) -> Tensor:
    """The outputs, ``(channels, rows)``."""
    with torch.no_grad():
        return model(inputs).movedim(channels, 0).flatten(1)


def means(model: nn.Module, inputs: Tensor, channels: int) -> Tensor:
    """Of the outputs, channel by channel."""
    return rows(model, inputs, channels).mean(1)


def test_batch_norm_by_hand() -> None:
    """Plain averages over the batches: of their means, and of their variances with
    n - 1 below; what was there is forgotten."""
    task = Unlabelled(2)
    norm = nn.BatchNorm1d(2)
    norm.load_state_dict({**norm.state_dict(), "running_mean": torch.tensor([9.0, 9])})
    model = nn.Sequential(norm, nn.Linear(2, 2, bias=False))
    changed = calibrate(model, planned(model), feed(task), {})
    sampler = sampling.Sampler(EXAMPLES, 3, 5)
    batches = [task.examples.numpy()[sampler.indices(step)] for step in (0, 1)]

    assert ["0.running_mean", "0.running_var"] == list(changed)
    np.testing.assert_allclose(
        changed["0.running_mean"], np.mean([b.mean(0) for b in batches], 0), rtol=1e-6
    )
    np.testing.assert_allclose(
        changed["0.running_var"],
        np.mean([b.var(0, ddof=1) for b in batches], 0),
        rtol=1e-6,
    )
    assert changed["0.running_mean"] is norm.running_mean


@pytest.mark.parametrize(("momentum", "count"), [(0.1, 40), (None, 2)])
def test_count_of_batches(momentum: float | None, count: int) -> None:
    """It stays where it only tells how long a network was trained, and is that of the
    batches where it weighs the next ones; the momentum stays anyway."""
    norm = nn.BatchNorm1d(2, momentum=momentum)
    norm.num_batches_tracked.fill_(40)
    model = nn.Sequential(norm, nn.Linear(2, 2, bias=False))
    changed = calibrate(model, planned(model), feed(Unlabelled(2)), {})

    assert count == int(norm.num_batches_tracked)
    assert momentum == norm.momentum
    assert ("0.num_batches_tracked" in changed) == (momentum is None)


class Idle(nn.Module):
    """Has a norm that it does not use, and one without statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
        self.plain = nn.BatchNorm1d(2, track_running_stats=False)
        self.matrix = nn.Linear(2, 2, bias=False)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.matrix(self.plain(self.used(inputs)))


def test_a_norm_that_is_not_used_stays() -> None:
    """Its statistics are those it had; a norm without any is none to calibrate."""
    model = Idle()
    plan = planned(model)
    changed = calibrate(model, plan, feed(Unlabelled(2)), {})

    assert ["used", "unused"] == list(norms(model, plan))
    assert ["used.running_mean", "used.running_var"] == list(changed)
    assert [0.0, 0.0] == model.unused.running_mean.tolist()


class LayerNorm2d(nn.LayerNorm):
    """As torchvision and timm have it."""

    def forward(self, maps: Tensor) -> Tensor:
        return super().forward(maps.movedim(1, -1)).movedim(-1, 1)


CLOSE: dict[str, float] = {"rtol": 1e-4, "atol": 1e-5}
NEAR: dict[str, float] = {"rtol": 0.1, "atol": 0.1}
DENSE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "dense": (
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU(), nn.Linear(6, 5)
        ),
        (3, 4),
        -1,
    ),
    "convolution": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 2)
        ),
        (2, 6, 6),
        1,
    ),
    "channels first": (
        lambda: nn.Sequential(nn.Conv2d(2, 4, 3), LayerNorm2d(4)),
        (2, 6, 4),
        1,
    ),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose1d(2, 3, 2)), (2, 5), 1),
}


@pytest.mark.parametrize("name", DENSE)
def test_every_layer_gets_its_moments_back(name: str) -> None:
    """On the batch itself: the mean of each channel behind each layer is the
    original's, the last one's too, which sees the others corrected; behind a norm the
    variance is, but for what keeps the scale of a channel that stands still bounded."""
    make, shape, channels = DENSE[name]
    original, changed = twins(make)
    task = Unlabelled(*shape)
    before = state_of(changed)
    whole = feed(task, batches=1, batch_size=EXAMPLES)
    found = calibrated(original, changed, whole)

    for depth, layer in enumerate(changed):
        if isinstance(layer, nn.GELU | nn.ReLU):
            continue
        expected = rows(original[: depth + 1], task.examples, channels)
        actual = rows(changed[: depth + 1], task.examples, channels)

        torch.testing.assert_close(actual.mean(1), expected.mean(1), **CLOSE)
        if isinstance(layer, nn.LayerNorm | nn.GroupNorm):
            torch.testing.assert_close(
                actual.var(1) / expected.var(1), torch.ones(len(actual)), **NEAR
            )
    for key, value in state_of(changed).items():
        assert value.equal(before[key]) == (key not in found)


def test_batches_count_alike() -> None:
    """A bias moves by the mean over the batches of what each would move it by."""
    original, changed = twins(lambda: nn.Sequential(nn.Linear(4, 3)))
    task, before = Unlabelled(4), state_of(changed)
    found = calibrated(original, changed, feed(task))
    sampler = sampling.Sampler(EXAMPLES, 3, 5)
    seen = np.concatenate([sampler.indices(step) for step in (0, 1)])
    inputs = task.examples[torch.from_numpy(seen)]
    bias = before["0.bias"] + means(original, inputs, -1)
    changed.load_state_dict(before)

    assert ["0.bias"] == list(found)
    torch.testing.assert_close(
        calibrated(original, changed, feed(task))["0.bias"],
        bias - means(twins(lambda: nn.Sequential(nn.Linear(4, 3)))[1], inputs, -1),
    )


class Conv1D(nn.Module):
    """GPT-2's dense layer, as transformers has it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(4, 4)),
            nn.Parameter(torch.ones(4)),
        )


class Mixed(nn.Module):
    """Layers of which some may be corrected."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.bare = nn.Linear(4, 4, bias=False)
        self.embed = nn.Embedding(4, 4)
        self.head = nn.Linear(4, 4)
        self.coded = nn.Linear(4, 4)
        self.pooled_bias = nn.Linear(4, 4)
        self.tied, self.other = nn.Linear(4, 4), nn.Linear(4, 4)
        self.other.bias = self.tied.bias
        self.gpt2 = Conv1D()


def test_which_layers() -> None:
    """Those with a weight that is pooled or coded, and with a bias that is kept."""
    pooled = "[dense.*, bare.*, embed.*, pooled_bias.weight, tied.*, gpt2.*]"
    spec = f"""
version: 1
pools:
  main: {{tensors: {pooled}, ratio: 1}}
  biases: {{tensors: ["pooled_bias.bias"], ratio: 1}}
keep: ["dense.bias", "tied.bias", "gpt2.bias"]
keep_codecs: {{"coded.weight": [int: 8]}}
"""
    model = Mixed()

    assert ["dense", "coded", "gpt2"] == list(shifted(model, planned(model, spec)))


def test_which_norms() -> None:
    """Those that scale and shift each channel by parameters that are kept."""
    model = nn.Sequential(
        nn.Linear(4, 4),
        nn.LayerNorm(4),
        nn.GroupNorm(2, 4),
        nn.LayerNorm((3, 4)),
        nn.LayerNorm(4, elementwise_affine=False),
        nn.LayerNorm(4, bias=False),
        nn.LayerNorm(4),
    )
    spec = """
version: 1
pools:
  main: {tensors: ["0.weight"], ratio: 1}
  norms: {tensors: ["6.weight"], ratio: 1}
"""

    assert ["1", "2"] == list(scaled(model, planned(model, spec)))


def test_what_nothing_changed_stays() -> None:
    """A network of its own weights is calibrated already, to the bit, whatever norms
    it has; so is a channel that stands still."""
    original, changed = twins(lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6)))

    assert {} == calibrated(original, original, feed(Unlabelled(3, 4)))

    still = Unlabelled(3, 4)
    still.examples[:] = still.examples[0, 0]
    calibrated(original, changed, feed(still, batches=1, batch_size=EXAMPLES))

    assert [1.0] * 6 == changed[1].weight.tolist()


def test_dropout_is_off_and_modes_stay() -> None:
    """The same values each time, whatever mode the network is in, tied or not."""
    model, plan = tied(), tied().plan
    points = feed(Points(), batches=3, batch_size=8)
    reference = observe(network(), plan, points)
    model.eval().module[3].train()
    modes = [m.training for m in model.modules()]
    first = {n: t.clone() for n, t in calibrate(model, plan, points, reference).items()}
    again = calibrate(tied(), plan, points, observe(network(), plan, points))

    assert {"1.running_mean", "1.running_var", "0.bias", "4.bias", "6.bias"} == {*first}
    assert same(first, again)
    assert modes == [m.training for m in model.modules()]


class Failing(Points):
    """Gives inputs that no network takes after the first batch."""

    def inputs(self, batch: Any) -> Any:
        self.seen = getattr(self, "seen", 0) + 1
        return batch[0] if self.seen % 2 else batch[0][:, :1]


def test_a_failure_changes_nothing() -> None:
    """Nor do a stop, or weights that are not finite."""
    model = tied()
    before = state_of(model)
    for given, error in (
        (feed(Failing()), TrainingError),
        (feed(Points(), stop=iter([0, 130]).__next__), Interrupted),
    ):
        with pytest.raises(error):
            calibrate(model, model.plan, given, {})

        assert same(before, state_of(model))
        assert 0.1 == model.module[1].momentum

    with torch.no_grad():
        model.pools.main[0] = torch.nan
    with pytest.raises(TrainingError) as caught:
        calibrate(model, model.plan, feed(Points()), {})

    assert "1.running_mean: would become NaN or infinite" == str(caught.value)
    assert 0.0 == float(model.module[1].running_mean.abs().max())


class Routed(nn.Module):
    """Sends rows to one of two layers, by the sign of what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        left = inputs[:, 0] < self.first.bias[0]
        parts = self.first(inputs[left]), self.second(inputs[~left])
        return self.second(torch.cat(parts))


def test_calls_without_rows_or_partner() -> None:
    """A layer that gets nothing to do, or was not called in the original, is left."""
    original, changed = twins(Routed)
    for model in (original, changed):
        model.first.bias.data.fill_(-100.0)
    before = state_of(changed)
    plan = planned(original)
    found = observe(original, plan, feed(Unlabelled(2)))
    calibrate(changed, plan, feed(Unlabelled(2)), {"first": found["first"]})

    assert [None, None] == found["first"]
    assert 4 == len(found["second"])
    assert same(before, state_of(changed))
