"""Students that are trained through codecs: what is told of them is what is written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file as load_safetensors
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.blobs import needs
from tests.tiny import Points, network, recipe, same, state_of
from wpack import api
from wpack.batches import Batches
from wpack.coded import Coded
from wpack.devices import place
from wpack.errors import TrainingError, UsageError
from wpack.events import Event, Finished, Note
from wpack.loader import load_file
from wpack.planner import make_plan
from wpack.processes import ALONE
from wpack.runs import FISHER
from wpack.sampling import Sampler
from wpack.spec import parse
from wpack.stopping import Interrupted, never
from wpack.student import storage_dtypes
from wpack.tensors import BY_NAME, TensorInfo
from wpack.tie import Tied
from wpack.training import Training

FINETUNE = """
finetune:
  task: tests.jobs:points
  metric: loss
  epochs: 3
  batch_size: 6
  distill: {weight: 0.5}
  optimizer: {name: adamw, lr: 0.03}
  fisher: {samples: 10}
"""

#: Every kind of chain, tensors that wrap, several techniques, dtypes and what can be
#: asked of a recipe.
SPECS: dict[str, str] = {
    "int": """
version: 1
pools: {main: {tensors: ["*.weight"], ratio: 1.5, codecs: [{int: 4}, zstd]}}
keep_codecs: {"1.running_var": [{int: 8}], "6.bias": [bfloat16]}
""",
    "deep compression": """
version: 1
pools:
  main:
    tensors: ["*.weight"]
    ratio: 1
    codecs: [{prune: {share: 0.5, by: fisher}}, {kmeans: 3}, zstd]
""",
    "incremental": """
version: 1
pools:
  main:
    technique: hashed
    tensors: ["4.weight"]
    ratio: 2
    projection: fisher
    codecs: [{prune: 0.25}, {pow2: {bits: 4, incremental: true}}]
keep_codecs: {"6.weight": [{prune: 0.3}, zstd]}
""",
    "binary": """
version: 1
pools:
  main: {tensors: ["4.weight"], ratio: 3, dtype: bfloat16, codecs: [{binary: 8}]}
  last: {tensors: ["6.weight"], ratio: 2, codecs: [{ternary: 8}, zstd]}
""",
}
#: Which codecs they need.
NEEDED = {
    "int": "int, zstd, bfloat16",
    "deep compression": "prune, kmeans, zstd",
    "incremental": "prune, pow2, zstd",
    "binary": "binary, ternary, zstd",
}
PARAMS = {name: pytest.param(name, marks=needs(NEEDED[name])) for name in SPECS}
MORE = {"deep compression": "  ema: 0.8\n", "binary": "  clip_norm: 1.0\n"}


def text(name: str) -> str:
    """A spec with its recipe."""
    return SPECS[name] + FINETUNE + MORE.get(name, "")


def run(
    name: str, folder: Path, stop: Callable[[], int] = never, **options: Any
) -> list[Event]:
    """A run of ``wpack finetune``, or what came before it was stopped."""
    checkpoint = folder / "tiny.safetensors"
    if not checkpoint.exists():
        save_file(network().state_dict(), checkpoint)
    events: list[Event] = []
    try:
        for event in api.finetune(
            checkpoint,
            parse(text(name)),
            folder / "out.wpool",
            device="cpu",
            stop=stop,
            **options,
        ):
            events.append(event)
    except Interrupted:
        assert options
    return events


@cache
def whole(name: str, folder: Path) -> tuple[bytes, list[Event]]:
    """The file and the events of the run that nobody stops."""
    folder.mkdir()
    events = run(name, folder)
    return (folder / "out.wpool").read_bytes(), events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For runs that nobody stops."""
    return tmp_path_factory.mktemp("whole")


def finished(events: list[Event]) -> Finished:
    """The last word."""
    assert isinstance(events[-1], Finished)
    return events[-1]


@pytest.mark.parametrize("name", PARAMS.values())
def test_file_is_what_was_evaluated(name: str, folder: Path) -> None:
    """The metrics of the file are those that were told, to the last bit, and the file
    is sound."""
    _, events = whole(name, folder / name)
    path = folder / name / "out.wpool"

    assert () == api.verify(path)
    assert finished(events).step > 0
    assert finished(events).after["test"] == api.evaluate(
        path, "tests.jobs:points", device="cpu", batch_size=6
    )


@pytest.mark.parametrize("name", PARAMS.values())
def test_file_holds_the_best_bytes(name: str, folder: Path) -> None:
    """Decoded, the file is the best weights of the run's last state, bit for bit."""
    whole(name, folder / name)
    (*_, state) = sorted((folder / name / "out.wpool.run").glob("step-*"))
    best = load_safetensors(state / "best.safetensors")
    stored = load_safetensors(folder / name / "out.wpool")
    coded = {n: t for n, t in best.items() if t.dtype == torch.uint8}

    assert coded
    for each, data in coded.items():
        assert torch.equal(data, stored[each])
    loaded = load_file(folder / name / "out.wpool")
    assert network().state_dict().keys() == loaded.keys()
    for each, value in best.items():
        if each.startswith("module."):
            assert torch.equal(value, loaded[each.removeprefix("module.")])


class Asked:
    """A ``stop`` that says so at the n-th question, from 0."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __call__(self) -> int:
        self.at -= 1
        return 130 if self.at < 0 else 0


@pytest.mark.parametrize("name", PARAMS.values())
@pytest.mark.parametrize("at", [0, 5, 9, 13, 20, 23])
def test_t06_stopped_and_resumed(
    name: str, at: int, folder: Path, tmp_path: Path
) -> None:
    """A run that is stopped and resumed writes the same file to the byte: masks, fixed
    weights and shared values come back."""
    expected, events = whole(name, folder / name)
    run(name, tmp_path, Asked(at), resume="auto")
    again = run(name, tmp_path, resume="auto")

    assert finished(events) == finished(again)
    assert expected == (tmp_path / "out.wpool").read_bytes()


@needs("prune, kmeans, zstd")
def test_fisher_is_kept_and_reused(tmp_path: Path) -> None:
    """It is measured once for a run, and read when that is resumed; a damaged one is
    measured again."""
    run("deep compression", tmp_path, Asked(8), resume="auto")
    kept = tmp_path / "out.wpool.run" / FISHER
    before = kept.read_bytes()
    kept.chmod(0o400)
    stamp = kept.stat().st_mtime_ns
    events = run("deep compression", tmp_path, Asked(3), resume="auto")
    after = kept.stat().st_mtime_ns
    kept.chmod(0o600)
    kept.write_bytes(before[:100])
    again = run("deep compression", tmp_path, resume="auto")
    first, second = (
        [e.text for e in found if isinstance(e, Note)] for found in (events, again)
    )

    assert stamp == after
    assert f"{kept}: Fisher information as it was measured" in first
    assert f"{kept}: Fisher information of 10 training examples" in second
    assert before == kept.read_bytes()


@needs("prune, kmeans, zstd")
def test_fisher_of_another_run(tmp_path: Path) -> None:
    """What a start that came no further has left is in nobody's way, and not believed
    where it is about something else."""
    folder = tmp_path / "out.wpool.run"
    folder.mkdir()
    stale = {"pool/main": torch.ones(1)}
    save_file(stale, folder / FISHER, metadata={"samples": "3"})
    run("deep compression", tmp_path, Asked(3), resume="auto")
    found = load_safetensors(folder / FISHER)

    assert {"pool/main", "0.weight"} <= found.keys()
    assert 1 < len(found["pool/main"])


@pytest.mark.parametrize("name", [PARAMS["deep compression"], PARAMS["incremental"]])
def test_compress_refuses_fisher(name: str, tmp_path: Path) -> None:
    """Without a task there is no Fisher information, and a message says what to do."""
    save_file(network().state_dict(), tmp_path / "tiny.safetensors")
    with pytest.raises(UsageError) as caught:
        api.compress(tmp_path / "tiny.safetensors", parse(text(name)), tmp_path / "o")

    assert (
        "the spec asks for Fisher information, which is measured on a task."
        " Use wpack finetune, or leave out by: fisher and projection: fisher"
    ) == str(caught.value)


def student(name: str, seed: int = 0) -> Tied:
    """The tiny network with its weights tied and random pools."""
    module = network(seed)
    infos = [
        TensorInfo(n, BY_NAME[str(t.dtype).removeprefix("torch.")], tuple(t.shape))
        for n, t in module.state_dict().items()
    ]
    plan = make_plan(parse(SPECS[name]), infos).plan
    generator = torch.Generator().manual_seed(seed)
    pools = {p.name: torch.randn(p.backing, generator=generator) for p in plan.pools}
    return Tied(module, plan, pools)


def training(found: Tied, **options: Any) -> Training:
    """A run's beginning."""
    wanted = recipe(**options)
    return Training(
        found.train(),
        Points(),
        wanted,
        teacher=None,
        storage=storage_dtypes(found),
        coded=Coded(found),
        placement=place("cpu", wanted.precision),
        batches=Batches(Sampler(26, wanted.batch_size, wanted.seed), ALONE),
        steps=12,
    )


@pytest.mark.parametrize("name", [PARAMS["int"], PARAMS["binary"]])
def test_forward_is_coded_and_step_is_not(name: str) -> None:
    """The network sees coded values, views or not; afterwards the latents are back,
    moved by the gradient of the coded values."""
    found = training(student(name), optimizer={"name": "sgd", "lr": 0.1})
    live = state_of(found.student)
    seen: list[Tensor] = []
    layer = found.student.get_submodule("module.4")
    layer.register_forward_pre_hook(lambda *_: seen.append(layer.weight.clone()))
    data = Points().data("train")
    assert data is not None
    found.take_step(data)
    after = state_of(found.student)["pools.main"]
    coded = found.coded.latents["pool/main"].fake(live["pools.main"], 0.0)

    assert 1 == len(seen)
    assert set(seen[0].reshape(-1).tolist()) <= set(coded.tolist())
    assert not torch.equal(coded, live["pools.main"])
    assert 0 < float((after - live["pools.main"]).abs().max()) < 1


@needs("int, zstd, bfloat16")
def test_step_that_fails_leaves_latents() -> None:
    """Whatever happens in a step, the student has its latents again."""
    found = training(student("int"))
    before = state_of(found.student)
    with pytest.raises(KeyError), found.coded.in_place(0, 12):
        raise KeyError

    assert same(before, state_of(found.student))


@needs("int, zstd, bfloat16")
def test_pool_that_is_not_finite() -> None:
    """A pool gone NaN is told of by its name at the next step."""
    found = training(student("int"))
    with torch.no_grad():
        found.student.get_parameter("pools.main")[2] = torch.nan
    data = Points().data("train")
    assert data is not None
    with pytest.raises(TrainingError) as caught:
        found.take_step(data)

    assert str(caught.value).startswith("pool 'main': has weights that are NaN or inf")


@needs("int, zstd, bfloat16")
def test_frozen_and_unused_parameters() -> None:
    """What requires no gradient is coded in the network all the same, and not moved."""
    tied = student("int")
    tied.get_parameter("pools.main").requires_grad_(False)
    found = training(tied)
    before = state_of(tied)
    data = Points().data("train")
    assert data is not None
    found.take_step(data)

    assert torch.equal(before["pools.main"], state_of(tied)["pools.main"])


def test_nothing_coded() -> None:
    """A student without codecs, tied or not, has nothing to do with any of this."""
    plain = Coded(network())

    assert not plain
    assert ({}, {}, {}, {}) == (
        plain.state(),
        plain.sizes(),
        plain.best,
        plain.encode({}, {}),
    )
    assert not Coded(nn.Linear(1, 1))


@needs("int")
def test_alias_of_a_coded_tensor() -> None:
    """What a checkpoint has under two names is coded once, and both names decode it."""
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    float32 = BY_NAME["float32"]
    infos = [
        TensorInfo("0.weight", float32, (4, 4)),
        TensorInfo("0.bias", float32, (4,)),
        TensorInfo("1.weight", float32, (4, 4), "0.weight"),
        TensorInfo("1.bias", float32, (4,)),
        TensorInfo("2.weight", float32, (4, 4)),
        TensorInfo("2.bias", float32, (4,)),
    ]
    spec = """
version: 1
pools: {main: {tensors: ["2.weight"], ratio: 1}}
keep_codecs: {"0.weight": [{int: 3}]}
"""
    tied = Tied(module, make_plan(parse(spec), infos).plan, {"main": torch.ones(16)})
    coded = Coded(tied)
    weights = {n: t for n, t in tied.state_dict().items() if isinstance(t, Tensor)}
    held = weights | coded.encode(weights, weights)
    values = coded.decode(held)

    assert {"kept/0"} == coded.latents.keys()
    assert {"module.0.weight", "module.1.weight"} == coded.names
    assert torch.uint8 == held["kept/0"].dtype
    assert (4, 4) == tuple(values["module.0.weight"].shape)
    assert torch.equal(values["module.0.weight"], values["module.1.weight"])
    assert not torch.equal(values["module.0.weight"], weights["module.0.weight"])
