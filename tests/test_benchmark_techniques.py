"""The parts of the benchmark of all techniques, on data that the tests make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks import real, techniques
from benchmarks.cifar10.resnet import ResNet
from benchmarks.decompression import VARIANTS
from benchmarks.mobilenet import task as mobilenet
from benchmarks.mobilenet.model import MobileNet
from benchmarks.stories.model import Llama, nll
from benchmarks.stories.task import Stories
from wpack.devices import place
from wpack.errors import PlanError, UsageError
from wpack.evaluate import evaluate
from wpack.planner import make_plan
from wpack.spec import load
from wpack.tensors import FLOAT32, TensorInfo

FOLDER = Path(__file__).parents[1] / "benchmarks"
CPU = place("cpu", "float32")


def infos(module: nn.Module) -> list[TensorInfo]:
    """What a float32 checkpoint of a network would list."""
    parameters = module.named_parameters()
    return [TensorInfo(name, FLOAT32, tuple(p.shape)) for name, p in parameters]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with a random detector, four images in each split and two texts."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    for name in ("cifar10", "models", "text"):
        (tmp_path / name).mkdir()
    splits = {"train": slice(0, 4), "validation": slice(4, 8), "test": slice(8, 12)}
    monkeypatch.setattr(mobilenet, "SPLITS", splits)
    images = random.integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / mobilenet.IMAGES, images=images)
    save_file(MobileNet().state_dict(), tmp_path / mobilenet.CHECKPOINT)
    tokens = random.integers(0, 512, (2, 9), dtype=np.int16)
    np.savez(tmp_path / "text" / "stories260K_selfgen_tokens.npz", tokens=tokens)
    return tmp_path


def test_mobilenet_has_the_published_size() -> None:
    """Parameters and pooled weights as the checkpoint has them; two classes."""
    model = MobileNet().eval()
    plans = {
        name: make_plan(load(FOLDER / "mobilenet" / f"{name}.yaml"), infos(model)).plan
        for name in ("pools", "pools-8")
    }

    assert 216_322 == sum(p.numel() for p in model.parameters())
    assert [("pools", 207_384, 26), ("pools-8", 196_096, 12)] == [
        (name, plan.pools[0].working, len(plan.pooled)) for name, plan in plans.items()
    ]
    assert (2, 2) == model(torch.zeros(2, 3, 96, 96)).shape


def test_mobilenet_pads_as_tensorflow() -> None:
    """Where the stride is 2 an even image gets zeros below and to the right only."""
    model = MobileNet().eval()
    nn.init.zeros_(model.conv2d.weight)
    nn.init.zeros_(model.conv2d.bias)
    model.conv2d.weight.data[:, :, 0, 0] = 1.0  # the corner that padding would hide
    maps: list[torch.Tensor] = []
    model.conv2d.register_forward_hook(lambda *found: maps.append(found[2]))
    model(torch.ones(1, 3, 96, 96))

    assert (1, 8, 48, 48) == maps[0].shape
    assert torch.equal(torch.full_like(maps[0], 3.0), maps[0])


def test_agreement_of_the_published_detector_with_itself(folder: Path) -> None:
    """It always agrees and is 0 nats away; another network is not."""
    task = mobilenet.Agreement(str(folder))
    published, other = MobileNet(), MobileNet()
    published.load_state_dict(load_file(folder / mobilenet.CHECKPOINT))
    found = [
        evaluate(model, task, task.data("test"), batch_size=3, placement=CPU)
        for model in (published, other)
    ]

    assert {"agreement": 1.0, "kl": pytest.approx(0.0, abs=1e-6)} == found[0]
    assert found[1]["kl"] > 1e-6


def test_stories_task_measures_the_likelihood(folder: Path) -> None:
    """The task's loss is the benchmark's own likelihood of the same texts; there is
    nothing to train on."""
    torch.manual_seed(1)
    model, task = Llama(), Stories(str(folder))
    data = task.data("test")
    found = evaluate(model, task, data, batch_size=1, placement=CPU)

    assert pytest.approx(nll(model, data.tensors[0]), rel=1e-5) == found["loss"]
    assert [None, None] == [task.data(split) for split in ("train", "validation")]


NETWORKS = {"resnet": ResNet(20), "mobilenet": MobileNet(), "stories": Llama()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("case", real.CASES, ids=lambda case: case.name)
def test_specs_take_every_technique(case: real.Case, variant: str) -> None:
    """Every round trip of ``--real`` can be planned: no technique's limit is in the way
    of the specs, whose pool is within the budget."""
    (name,) = (n for n in NETWORKS if n in case.task)
    options = real.settings(variant, case.ratio)[1::2]
    planned = make_plan(load(FOLDER.parent / case.spec, options), infos(NETWORKS[name]))
    (pool,) = planned.plan.pools

    assert pool.technique == techniques.made(variant)
    assert pool.ratio >= case.ratio * (1 - 2e-3)


@pytest.mark.technique("all_pairs", "outer")
@pytest.mark.parametrize(
    ("technique", "refusal"),
    [
        (
            "outer",
            "pool 'blocks': outer: depthwise_conv2d.weight, shape [8, 1, 3, 3], cannot"
            " be made from 9 backing weights; the least is 17 (and 6 more tensors:"
            " conv2d_1.weight, depthwise_conv2d_1.weight, depthwise_conv2d_2.weight,"
            " …). Use a ratio of at most 4.235, or keep these tensors",
        ),
        (
            "all_pairs",
            "pool 'blocks': all_pairs: 9 backing weights make 36 pairs, but"
            " depthwise_conv2d.weight has 72 weights; it needs 13 (and 1 more tensor:"
            " conv2d_1.weight). Use a ratio of at most 5.538, or keep these tensors",
        ),
    ],
)
def test_small_tensors_are_refused_with_the_rule(technique: str, refusal: str) -> None:
    """What ``pools-8.yaml`` keeps cannot be made at its ratio."""
    spec = load(
        FOLDER / "mobilenet" / "pools.yaml",
        [f"pools.blocks.technique={technique}", "pools.blocks.ratio=8"],
    )

    with pytest.raises(PlanError) as error:
        make_plan(spec, infos(NETWORKS["mobilenet"]))

    assert refusal == str(error.value)


ROW = {
    "checkpoint": "net",
    "technique": "outer",
    "ratio_asked": 2,
    "ratio": 3.0,
    "free_parameters": 1234,
    "bytes_predicted": 5000,
    "bytes": 5000,
    "compress_cpu_seconds": 0.5,
    "problems": [],
    "differences": 0,
    "compared": 7,
    "metric": "loss",
    "metrics": {"loss": 0.25},
    "metrics_inflated": {"loss": 0.25},
}


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes": 5001},
        {"problems": ["pool/p: its SHA-256 is another"]},
        {"differences": 1},
        {"compared": 0},
        {"metrics_inflated": {"loss": 0.25000001}},
    ],
)
def test_any_disagreement_is_unsound(wrong: dict[str, Any]) -> None:
    """A row is sound when everything agrees, and only then."""
    assert real.sound(ROW)
    assert not real.sound({**ROW, **wrong})


def test_line_shows_what_was_compared() -> None:
    """A row as text, with = where the two sides agree."""
    line = " ".join(real.line({**ROW, "bytes": 5001}).split())

    assert (
        "net outer 2 → 3.00 1,234 5,000 ≠ 5,001 verify ok differences 0 of 7"
        " loss 0.250000 = 0.250000 0.50 s" == line
    )


def test_a_failing_command_is_named(tmp_path: Path) -> None:
    """A command that fails ends the benchmark with its own words."""
    with pytest.raises(real.Failed) as error:
        real.wpack(tmp_path, "verify", str(tmp_path / "none.wpool"))

    assert f"wpack verify {tmp_path}/none.wpool" in str(error.value)
    assert "exit 1" in str(error.value)


def runs(seeds: int) -> list[techniques.Run]:
    """A run of every cell and seed; accuracies a quarter of a percent apart."""
    return [
        {
            "sample": sample,
            "technique": variant,
            "ratio_asked": ratio,
            "seed": seed,
            "free_parameters": 1000 // ratio,
            "accuracy": 0.98 + 0.0025 * seed,
        }
        for sample, variant, ratio, seed in techniques.wanted(seeds)
    ]


def test_every_cell_is_wanted_once_a_seed() -> None:
    """Both samples, every variant and both ratios, the first seed before the next."""
    found = list(techniques.wanted(2))

    assert 2 * 2 * len(VARIANTS) * 2 == len(set(found)) == len(found)
    assert [0, 1] == [found[0][3], found[-1][3]]
    assert found == sorted(found, key=lambda key: key[3])


def test_spread_is_shown_for_several_seeds() -> None:
    """One seed is a number, more are mean and standard deviation."""
    assert 4 * ["98.00"] == techniques.accuracies("global", runs(1))
    assert 4 * ["98.12 ± 0.18"] == techniques.accuracies("global", runs(2))
    assert ["500", "250", "500", "250"] == techniques.sizes("global", runs(1))


@pytest.mark.technique("layered", "outer")
@pytest.mark.parametrize(
    ("variant", "expected"),
    {
        "global": ["yes", "0", "0", "8.00", "0.50"],
        "outer, permute": ["no", "1", "1", "8.00", "0.50"],
        "layered, m = 2": ["no", "1", "1.5", "8.00", "0.50"],
    }.items(),
)
def test_costs_are_counted_for_each_weight(variant: str, expected: list[str]) -> None:
    """Counts are those of the technique, a weight; speed is the other file's."""
    row = {"technique": variant, "gigabytes_per_second": 8.0, "times_a_copy": 0.5}

    assert expected == techniques.costs(variant, {"ratio": 2.0, "rows": [row]})


@pytest.mark.technique("outer")
def test_overrides_make_the_spec_one_of_the_technique() -> None:
    """All six pools of the transformer change, and the seed; outer asks for less."""
    options = techniques.overrides("vit", "outer, permute", 2, 5)
    spec = load(FOLDER.parent / "samples" / "digits" / "vit.yaml", options)

    assert [(techniques.made("outer, permute"), 1.9)] * 6 == [
        (pool.make_technique(), pool.ratio) for pool in spec.pools.values()
    ]
    assert spec.finetune is not None
    assert 5 == spec.finetune.seed


def test_rewrite_replaces_what_is_between_the_lines() -> None:
    """The text around the tables stays; a document without the lines is refused."""
    document = f"before\n{techniques.BEGIN}\nold\n{techniques.END}\nafter\n"

    assert (
        f"before\n{techniques.BEGIN}\n\nnew\n\n{techniques.END}\nafter\n"
        == techniques.rewrite(document, "new")
    )

    with pytest.raises(UsageError, match="lacks the lines"):
        techniques.rewrite("nothing", "new")
