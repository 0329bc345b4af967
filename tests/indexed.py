"""A network with one of everything, tied, and the same training with indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.optim import SGD, AdamW, Optimizer
from torch.utils.checkpoint import checkpoint

from wpack.plan import Plan
from wpack.planner import make_plan
from wpack.spec import parse
from wpack.tensors import BY_NAME, TensorInfo
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
