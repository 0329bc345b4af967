"""Tied training: the same as with indices, whatever is done to the module."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint

from wpack.errors import TrainingError
from wpack.plan import Plan, PoolPlan, TensorPlan
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.table import Block, Slice, SliceTable
from wpack.techniques import Projection, Technique
from wpack.tensors import BY_NAME, FLOAT64, TensorInfo
from wpack.tie import Tied

#: Split pools; the first tensor of ``wide`` is longer than its pool, the others wrap.
SPEC = """
version: 1
split:
  "attention.weight": [q, k, v]
pools:
  query: {tensors: ["attention.weight#q", "attention.weight#k"], ratio: 1.5}
  rest-of-it: {tensors: ["attention.weight#v", "mix.weight"], ratio: 2}
  wide: {tensors: ["embed.weight", "lstm.weight_*", "kernel.weight"], size: 80}
"""


class Net(nn.Module):
    """One of each: a fused weight, a shared one, recurrence, convolution, batch norm,
    and parts called outside of ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.attention = nn.Linear(8, 24)
        self.mix = nn.Linear(8, 8)
        self.lstm = nn.LSTM(8, 4, batch_first=True)
        self.kernel = nn.Conv1d(4, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.embed.weight
        self.checkpointing: bool | None = None  # reentrant or not

    def block(self, x: Tensor) -> Tensor:
        """Attention, ``(batch, time, 8)`` to the same."""
        q, k, v = self.attention(x).chunk(3, dim=-1)
        scores = (q @ k.transpose(1, 2)).softmax(-1)
        return x + self.mix(torch.tanh(scores @ v))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embed(tokens)
        if self.checkpointing is None:
            x = self.block(x)
        else:
            x = checkpoint(self.block, x, use_reentrant=self.checkpointing)
        x, _ = self.lstm(x)
        x = self.norm(self.kernel(x.transpose(1, 2))).transpose(1, 2)
        return self.head(x)


def planned(model: nn.Module, spec: str = SPEC) -> Plan:
    """A spec's plan for a model; parameters that are one are aliases."""
    names: dict[int, str] = {}
    infos = []
    for name, value in model.state_dict(keep_vars=True).items():
        dtype = BY_NAME[str(value.dtype).removeprefix("torch.")]
        alias = names.setdefault(id(value), name)
        shape = tuple(value.shape)
        infos.append(TensorInfo(name, dtype, shape, alias if alias != name else None))
    return make_plan(parse(spec), infos).plan


def tied(dtype: torch.dtype = torch.float32, seed: int = 0) -> Tied:
    """The net with random pools."""
    torch.manual_seed(seed)
    model = Net()
    plan = planned(model)
    backing = {pool.name: torch.randn(pool.backing) * 0.3 for pool in plan.pools}
    return Tied(model, plan, backing).to(dtype)


def tokens(seed: int = 1) -> Tensor:
    """A batch ``(3, 5)``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 12, (3, 5), generator=generator)


def loss_of(model: Callable[..., Tensor], seed: int = 1) -> Tensor:
    """Predict the tokens from themselves."""
    batch = tokens(seed)
    return nn.functional.cross_entropy(model(batch).flatten(0, 1), batch.flatten())


def gathered(plan: Plan, pools: dict[str, Tensor]) -> dict[str, Tensor]:
    """Working weights by indexing, aliases too, with autograd's own gradients."""
    made = {}
    for tensor in plan.pooled:
        parts = []
        for index, piece in tensor.pieces:
            pool = plan.pools[index]
            at = (piece.start + torch.arange(piece.length)) % pool.backing
            parts.append(pools[pool.name][at])
        made[tensor.name] = torch.cat(parts).view(tensor.info.shape)
    return made | {a: made[b] for a, b in plan.aliases.items() if b in made}


class Indexed:
    """The reference: the same training written with indices."""

    def __init__(self, model: Tied) -> None:
        self.plan = model.plan
        self.net = Net().to(next(iter(model.backing().values())).dtype)
        self.pools = {
            name: nn.Parameter(value.clone()) for name, value in model.backing().items()
        }
        kept = {name: value.clone() for name, value in model.kept().items()}
        self.net.load_state_dict(kept, strict=False)
        names = {t.name for t in self.plan.kept}
        self.kept = [p for n, p in self.net.named_parameters() if n in names]

    def parameters(self) -> list[nn.Parameter]:
        """In the order in which the tied module has them."""
        return [*self.pools.values(), *self.kept]

    def __call__(self, batch: Tensor) -> Tensor:
        made = functional_call(self.net, gathered(self.plan, self.pools), (batch,))
        assert isinstance(made, Tensor)
        return made


def train(model: Any, optimizer: Optimizer, steps: int = 5) -> list[float]:
    """Losses of some steps."""
    losses = []
    for seed in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model, seed)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def sgd(parameters: Any, **options: Any) -> Optimizer:
    return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=0.01, **options)


def adamw(parameters: Any) -> Optimizer:
    return AdamW(parameters, lr=0.01)


def fused_sgd(parameters: Any) -> Optimizer:
    return sgd(parameters, fused=True)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    """The same names and bits."""
    assert left.keys() == right.keys()
    assert [n for n in left if not torch.equal(left[n], right[n])] == []


@pytest.mark.parametrize("optimizer", [sgd, fused_sgd, adamw])
def test_training_is_that_with_indices(
    optimizer: Callable[[Any], Optimizer],
) -> None:
    """Five steps: losses, pools, kept tensors and working weights of the reference."""
    model = tied(torch.float64)
    reference = Indexed(model)

    expected = train(reference, optimizer(reference.parameters()))
    actual = train(model, optimizer(model.parameters()))

    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=0.0)
    assert expected[-1] != expected[0]
    for name, value in reference.pools.items():
        torch.testing.assert_close(model.backing()[name], value.detach())
    for name, value in model.kept().items():
        torch.testing.assert_close(value, reference.net.state_dict()[name])
    made = gathered(model.plan, model.backing())
    same({t.name: made[t.name] for t in model.plan.pooled}, model.working())


def test_parameters_are_pools_and_what_is_kept() -> None:
    """One leaf a pool, and no working weight anywhere in the state."""
    model = tied()
    pools = ["pools.query", "pools.rest-of-it", "pools.wide"]
    kept = [f"module.{t.name}" for t in model.plan.kept]

    assert [*pools, *kept] == list(model.state_dict())
    trained = [n for n in kept if "running" not in n and "num_batches" not in n]
    assert [*pools, *trained] == [name for name, _ in model.named_parameters()]
    assert all(parameter.is_leaf for parameter in model.parameters())
    assert {"query", "rest-of-it", "wide"} == model.backing().keys()
    assert "640 working weights from 240 backing weights" in repr(model)


def test_views_and_copies() -> None:
    """``mix`` is a view of its pool; the others are put together, and counted."""
    model = tied()
    pools = {p.untyped_storage().data_ptr() for p in model.backing().values()}
    copies = {
        name: weight.nbytes
        for name, weight in model.working().items()
        if weight.untyped_storage().data_ptr() not in pools
    }

    assert model.working().keys() - copies.keys() == {"mix.weight"}
    assert sum(copies.values()) == model.copied_nbytes


def test_names_that_modules_cannot_have() -> None:
    """A pool may be called what a module has an attribute for, or have dots."""
    plan = planned(Net())
    names = ["half", "a.b%", "wide"]
    pools = tuple(
        PoolPlan(name, pool.technique, pool.dtype, pool.table)
        for name, pool in zip(names, plan.pools, strict=True)
    )
    model = Tied(Net(), Plan(pools, plan.tensors, plan.alignment))
    keys = [name for name in model.state_dict() if name.startswith("pools.")]

    assert keys == ["pools.half", "pools.a%2Eb%25", "pools.wide"]
    assert names == list(model.half().backing())


def test_shared_parameters_stay_shared() -> None:
    """The head is the embedding, before and after a move."""
    net = tied().double().module
    assert isinstance(net, Net)

    assert net.head.weight is net.embed.weight


def test_aliases_of_kept_parameters_are_tied_again() -> None:
    """The plan knows an alias that the model holds as a copy of its own."""
    model = nn.ModuleDict({n: nn.Linear(2, 2) for n in ("first", "other", "third")})
    first, other = model["first"], model["other"]
    assert isinstance(first, nn.Linear)
    assert isinstance(other, nn.Linear)
    spec = "version: 1\npools: {p: {tensors: [third.weight], ratio: 2}}"
    plan = planned(model, spec)
    aliased = tuple(
        TensorPlan(TensorInfo(t.name, t.info.dtype, t.info.shape, "first.bias"))
        if t.name == "other.bias"
        else t
        for t in plan.tensors
    )
    model_tied = Tied(model, Plan(plan.pools, aliased, plan.alignment))

    assert other.bias is first.bias
    assert other.weight is not first.weight
    assert "other.bias" not in model_tied.kept()


@pytest.mark.parametrize("reentrant", [False, True])
def test_activation_checkpointing(reentrant: bool) -> None:
    """Blocks computed again in the backward pass give the same gradients."""
    model = tied(torch.float64)
    loss_of(model).backward()
    expected = {n: p.grad for n, p in model.named_parameters()}
    model.zero_grad()
    assert isinstance(model.module, Net)
    model.module.checkpointing = reentrant
    loss_of(model).backward()

    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


def test_gradients_accumulate() -> None:
    """Two batches before a step, forward and backward in any order."""
    model = tied(torch.float64).eval()
    reference = Indexed(model)
    reference.net.eval()
    (loss_of(reference, 1) + loss_of(reference, 2)).backward()
    first = loss_of(model, 1)
    second = loss_of(model, 2)
    first.backward()
    second.backward()

    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_the_module_itself_follows_a_step() -> None:
    """Called by its owner, not through the tied module, it has the new weights; so
    do its parts after ``eval()``."""
    model = tied(torch.float64)
    train(model, fused_sgd(model.parameters()), steps=2)
    net = model.eval().module
    assert isinstance(net, Net)
    part = net.block(net.embed(tokens()))
    reference = Indexed(model)
    reference.net.eval()
    made = gathered(model.plan, model.backing())
    expected = functional_call(reference.net, made, (tokens(),))

    torch.testing.assert_close(net(tokens()), expected)
    reference.net.load_state_dict({**made, **model.kept()})
    torch.testing.assert_close(part, reference.net.block(reference.net.embed(tokens())))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_bound_without_gradients(mode: Callable[[], Any]) -> None:
    """A module thawed where gradients are off trains all the same when they are on."""
    expected = train(model := tied(), sgd(model.parameters()))
    model = tied()
    model.requires_grad_(False)
    frozen = model(tokens())
    model.load_state_dict(tied().state_dict())  # the statistics of before that pass
    model.requires_grad_(True)
    with mode():
        model.eval()(tokens())
    actual = train(model.train(), sgd(model.parameters()))

    assert not frozen.requires_grad
    assert expected == actual


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_dtypes(dtype: torch.dtype) -> None:
    """``.to(dtype)`` before or after an optimiser is made, which stays valid."""
    model = tied()
    optimizer = sgd(model.parameters())
    model.to(dtype)
    loss = loss_of(model.float() if dtype == torch.float16 else model)
    loss.backward()
    optimizer.step()
    model.to(dtype)
    made = gathered(model.plan, model.backing())

    assert {dtype} == {w.dtype for w in model.working().values()}
    same({t.name: made[t.name] for t in model.plan.pooled}, model.working())
    assert all(p.is_leaf and p.grad is not None for p in model.parameters())


def test_devices() -> None:
    """Everything moves; no graph of the old device is left."""
    model = tied().to("meta")
    loss = model(torch.zeros(3, 5, dtype=torch.long, device="meta")).sum()
    loss.backward()

    assert {"meta"} == {w.device.type for w in model.working().values()}
    assert {"meta"} == {
        p.grad.device.type for p in model.parameters() if p.grad is not None
    }


def copied(model: Tied) -> Tied:
    return copy.deepcopy(model)


def pickled(model: Tied) -> Tied:
    restored = pickle.loads(pickle.dumps(model))
    assert isinstance(restored, Tied)
    return restored


def saved(model: Tied) -> Tied:
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    restored = torch.load(buffer, weights_only=False)
    assert isinstance(restored, Tied)
    return restored


def loaded(model: Tied) -> Tied:
    other = tied(seed=5)
    other.load_state_dict(model.state_dict())
    return other


def assigned(model: Tied) -> Tied:
    other = tied(seed=5)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    other.load_state_dict(state, assign=True)
    return other


@pytest.mark.parametrize("twin", [copied, pickled, saved, loaded, assigned])
def test_twins(twin: Callable[[Tied], Tied]) -> None:
    """A copy is equal, trains like the original, and has nothing in common with it."""
    model = tied()
    train(model, sgd(model.parameters()), steps=1)
    other = twin(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    same(model.state_dict(), other.state_dict())
    actual = train(other, sgd(other.parameters()))
    untouched = {name: value.clone() for name, value in model.state_dict().items()}
    expected = train(model, sgd(model.parameters()))

    same(before, untouched)
    assert expected == actual
    same(model.working(), other.working())
    net = other.module
    assert isinstance(net, Net)
    assert net.head.weight is net.embed.weight
    pool = other.backing()["rest-of-it"].untyped_storage().data_ptr()
    assert pool == net.mix.weight.untyped_storage().data_ptr()


def test_a_pickle_holds_no_working_weights() -> None:
    """A hundred times as many of them make it no larger than their plan does."""
    model = nn.Linear(256, 256)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 64}}")

    assert len(pickle.dumps(Tied(model, plan))) < 8192 < model.weight.nbytes


def test_pools_given_for_one_call() -> None:
    """``functional_call`` with other pools uses them, and the next call its own."""
    model = tied(torch.float64).eval()
    names = [n for n, _ in model.named_parameters() if n.startswith("pools.")]
    pools = [model.get_parameter(name).detach().clone() for name in names[:2]]

    def loss(*values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=False))
        return loss_of(lambda batch: functional_call(model, given, (batch,)))

    before = loss_of(model)
    other = loss(*(pool * 2 for pool in pools))
    after = loss_of(model)

    assert torch.autograd.gradcheck(loss, [p.requires_grad_() for p in pools])
    assert before.item() == after.item()
    assert before.item() != other.item()


def test_memory_taken_from_under_a_weight() -> None:
    """cuDNN moves recurrent weights to a buffer of its own: they come back."""
    model = tied()
    net = model.module
    assert isinstance(net, Net)
    expected = net.mix.weight.detach().clone()
    net.mix.weight.data = torch.zeros(8, 8)
    model(tokens())

    assert torch.equal(expected, net.mix.weight)
    pool = model.backing()["rest-of-it"].untyped_storage().data_ptr()
    assert pool == net.mix.weight.untyped_storage().data_ptr()


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    rendezvous = f"file://{tmp_path / 'rendezvous'}"
    distributed.init_process_group("gloo", rendezvous, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("views", [False, True])
def test_distributed_data_parallel(views: bool) -> None:
    """One gradient a pool crosses the network; training is that without DDP."""
    expected = train(model := tied(), sgd(model.parameters()))
    inner = tied()
    model = DistributedDataParallel(inner, gradient_as_bucket_view=views)
    actual = train(model, sgd(model.parameters()))

    assert expected == actual


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled(backend: str) -> None:
    """Compiled once, training is that of the module as it was."""
    expected = train(model := tied(), sgd(model.parameters()))
    model = tied()
    torch.compiler.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        actual = train(torch.compile(model, backend=backend), sgd(model.parameters()))

    torch.testing.assert_close(actual, expected)


@dataclass(frozen=True)
class Squared(Technique):
    """Working weights are squares of backing weights, side by side."""

    zero_copy: ClassVar[bool] = False

    def layout(self, blocks: Sequence[Block], backing: int) -> SliceTable:
        slices = []
        start = 0
        for block in blocks:
            slices.append(block.reading(start % backing, block.numel))
            start += block.numel
        return SliceTable(backing, tuple(slices))

    def expand(
        self,
        xp: Any,
        table: SliceTable,
        piece: Slice,
        backing: Any,
        first: int = 0,
        numel: int | None = None,
    ) -> Any:
        return xp.square(backing)

    def project(self, table: SliceTable, dtype: Any) -> Projection:
        raise AssertionError("not needed here")


def test_techniques_that_compute() -> None:
    """Their working weights are made before each forward pass, with autograd."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], size: 11}}")
    squared = PoolPlan("p", Squared(), FLOAT64, plan.pools[0].table)
    plan = Plan((squared,), plan.tensors, plan.alignment)
    start = torch.randn(plan.pools[0].backing, dtype=torch.float64)
    plain = copy.deepcopy(model)
    pool = nn.Parameter(start.clone())
    tied_model = Tied(model, plan, {"p": start})
    inputs = torch.randn(5, 4, dtype=torch.float64)
    optimizer = sgd(tied_model.parameters())
    kept = [p for n, p in plain.named_parameters() if n.endswith("bias")]
    reference = sgd([pool, *kept])
    for _ in range(3):
        optimizer.zero_grad()
        tied_model(inputs).square().sum().backward()
        optimizer.step()
        reference.zero_grad()
        made = gathered(plan, {"p": pool * pool})
        functional_call(plain, made, (inputs,)).square().sum().backward()
        reference.step()

    torch.testing.assert_close(tied_model.backing()["p"], pool.detach())
    made = gathered(plan, {"p": pool.detach() ** 2})
    for name, weight in tied_model.working().items():
        torch.testing.assert_close(weight, made[name])
    assert tied_model.copied_nbytes > 0  # the first tensor wraps


def test_backing_of_another_shape() -> None:
    """The module is as it was."""
    model = nn.Linear(8, 8)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}")
    with pytest.raises(TrainingError) as missing:
        Tied(model, plan, {})
    with pytest.raises(TrainingError) as misshapen:
        Tied(model, plan, {"p": torch.zeros(2, 4)})

    assert str(missing.value) == (
        "pool 'p': needs backing weights of shape (32,), got nothing"
    )
    assert str(misshapen.value) == (
        "pool 'p': needs backing weights of shape (32,), got shape (2, 4)"
    )
    assert isinstance(model.weight, nn.Parameter)


def test_no_backing_is_zeros() -> None:
    """For a state that is loaded next."""
    model = nn.Linear(8, 8)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}")

    assert torch.equal(torch.zeros(8, 8), Tied(model, plan).working()["weight"])


def test_backing_is_copied() -> None:
    """Training does not reach what the caller holds."""
    model = nn.Linear(8, 8)
    plan = planned(model, "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}")
    given = torch.ones(32, dtype=torch.bfloat16)
    made = Tied(model, plan, {"p": given})
    made(torch.ones(1, 8)).sum().backward()
    SGD(made.parameters(), lr=1.0).step()

    assert made.backing()["p"].dtype == torch.float32
    assert torch.equal(torch.ones(32, dtype=torch.bfloat16), given)
