"""The sweep of ``benchmarks/figure4.py``, on a task of milliseconds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks import fashion, figure4, figure4_plot
from tests.tiny import noisy
from wpack import techniques
from wpack.errors import UsageError
from wpack.tasks import Task, TensorData

#: Weights that no pool makes: 48 and 2 biases, a head of 2 × 48.
KEPT = 146
SWEEP = figure4.Sweep("tests.test_figure4:Turned", {"examples": 40}, 2, 20)


class Turned(Task):
    """Which of two quadrants a point lies in; one kernel of a block.

    Args:
        folder: What the script was told.
    """

    def __init__(self, folder: str, examples: int) -> None:
        assert folder == "data"
        self.examples = examples

    def model(self) -> nn.Module:
        layers = nn.Sequential()
        layers.layer1 = nn.Sequential()
        layers.layer1.conv1 = nn.Linear(2, 48)
        layers.linear = nn.Linear(48, 2)
        return layers

    def data(self, split: str) -> TensorData:
        generator = torch.Generator().manual_seed(len(split))
        inputs: Tensor = torch.randn(self.examples, 2, generator=generator)
        labels = (inputs.prod(1) > 0).long()
        return TensorData(inputs, labels, transform=noisy if split == "train" else None)


@pytest.mark.parametrize("technique", [figure4.DENSE, *techniques.names()])
def test_every_technique_has_a_record(technique: str) -> None:
    """It has all that the figure and the choice of a rate need."""
    arm = figure4.Arm(technique, 1 if technique == "dense" else 1.4, 0.01, 0)
    record = figure4.record(arm, SWEEP, "data", "cpu")
    backing = record["free_parameters"] - KEPT

    assert backing == 96 if technique == "dense" else 0 < backing < 96
    assert 0.0 <= record["test"]["accuracy"] <= 1.0
    assert 0.0 <= record["validation"]["accuracy"] <= 1.0
    assert (record["technique"], record["seed"]) == (technique, 0)


@pytest.mark.technique("layered")
def test_untied_techniques_start_alike() -> None:
    """At a ratio of 1 the ring and the laps are the same network, and a seed gives the
    same one again."""
    arms = [figure4.Arm(t, 1, 0.01, 5) for t in ("global", "layered")]
    ring, laps = (figure4.record(arm, SWEEP, "data", "cpu") for arm in arms)

    assert ring["validation"] == laps["validation"]
    assert ring["free_parameters"] == laps["free_parameters"] == KEPT + 96


def test_a_training_that_fails_is_recorded() -> None:
    """Its record says so, and it is no learning rate to choose."""
    record = figure4.record(figure4.Arm("global", 1, 1e30, 0), SWEEP, "data", "cpu")

    assert "test" not in record
    assert record["failed"].startswith("the loss is nan")


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> argparse.Namespace:
    """A sweep of two techniques at two ratios, two learning rates."""
    ratios = {"dense": (1,), "global": (1, 1.3)}
    monkeypatch.setattr(figure4, "RATIOS", ratios)
    monkeypatch.setattr(figure4, "RATES", (0.01, 1e30))
    monkeypatch.setitem(figure4.SWEEPS, "tiny", SWEEP)
    return argparse.Namespace(
        task="tiny", data="data", device="cpu", workers=1, output=tmp_path / "f.json"
    )


def results_of(options: argparse.Namespace) -> figure4.Results:
    """The results file as it is now."""
    return figure4.Results(options.output, {"device": "cpu"})


def test_a_stopped_sweep_goes_on(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records are on disk as soon as they are made; only what is missing is run."""
    results = results_of(options)
    arms = list(figure4.tuning_arms())
    figure4.run(arms[:3], results, options)
    first = json.loads(options.output.read_text())["runs"]
    results = results_of(options)
    figure4.run(arms, results, options)
    rates = figure4.chosen_rates(results)
    figure4.run(figure4.sweep_arms(rates, 2), results, options)
    runs = json.loads(options.output.read_text())["runs"]

    assert first == runs[:3]
    assert [run["tuning"] for run in runs] == [True] * 4 + [False] * 6
    assert rates == {"dense": 0.01, "global": 0.01}
    assert len({json.dumps({**run, "seconds": 0}) for run in runs}) == 10
    monkeypatch.setattr(figure4, "record", None)
    figure4.run(arms, results, options)


def test_other_settings_are_other_results(options: argparse.Namespace) -> None:
    """Runs that cannot be compared do not meet in one file."""
    results_of(options).write()
    with pytest.raises(SystemExit) as caught:
        figure4.Results(options.output, {"device": "cpu", "epochs": 3})

    assert str(caught.value) == (
        f"{options.output}: has runs with other settings; name another -o"
    )


def run_of(technique: str, free: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """A record, as far as it is drawn."""
    return {
        "technique": technique, "ratio": 2, "free_parameters": free, "tuning": False,
        "test": {"accuracy": accuracy}, **more,
    }  # fmt: skip


def test_points_are_means_over_seeds() -> None:
    """With the sample's deviation; neither tuning nor failed runs are drawn."""
    runs = [
        run_of("outer", 20, 0.5),
        run_of("global", 20, 0.5),
        run_of("global", 20, 0.75),
        run_of("global", 20, 0.1, tuning=True),
        run_of("global", 10, 0.25),
        {"technique": "smh", "tuning": False, "failed": "the loss is nan"},
    ]
    found = figure4_plot.points({"runs": runs})

    assert list(found) == ["global", "outer"]
    assert [p["free_parameters"] for p in found["global"]] == [10, 20]
    single, pair = found["global"]
    assert (single["accuracy"], single["deviation"], single["runs"]) == (0.25, 0.0, 1)
    assert (pair["accuracy"], pair["runs"]) == (0.625, 2)
    assert pair["deviation"] == pytest.approx(0.25 / np.sqrt(2))


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    """A PNG beside the results, which hold its points afterwards."""
    pytest.importorskip("matplotlib")
    path = tmp_path / "f.json"
    document = {"runs": [run_of("global", 20, 0.5), run_of("dense", 40, 0.6)]}
    path.write_text(json.dumps(document))
    figure = figure4_plot.draw(path)

    assert figure == tmp_path / "f.png"
    assert figure.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    written = json.loads(path.read_text())
    assert written == {**document, "points": figure4_plot.points(document)}


def test_fashion_network_has_its_size() -> None:
    """As its docstring counts; the kernels that the figure pools are most of it."""
    model = fashion.Small()
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    pooled = sum(n for name, n in sizes.items() if name.startswith("layer") and
                 ".conv" in name)  # fmt: skip

    assert (pooled, sum(sizes.values()) - pooled) == (73_728, 1_274)
    assert model(torch.zeros(2, 1, 14, 14)).shape == (2, 10)


def idx(values: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    sizes = np.array(values.shape, ">i4").tobytes()
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype("u1").tobytes()


@pytest.fixture
def data(tmp_path: Path, compressed: Callable[[bytes], bytes]) -> Path:
    """Six training images and two for the test, split four to two."""
    random = np.random.default_rng(0)
    (tmp_path / "fashion").mkdir()
    for archive, count in (("train", 6), ("t10k", 2)):
        images = random.integers(0, 256, (count, 28, 28))
        stem = tmp_path / "fashion" / archive
        Path(f"{stem}-images-idx3-ubyte.gz").write_bytes(compressed(idx(images)))
        labels = np.arange(count)
        Path(f"{stem}-labels-idx1-ubyte.gz").write_bytes(compressed(idx(labels)))
    return tmp_path


@pytest.fixture
def compressed() -> Callable[[bytes], bytes]:
    """What makes a .gz."""
    import gzip

    return gzip.compress


def test_fashion_is_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pixels are halved in both directions; the last training images validate."""
    monkeypatch.setattr(fashion, "VALIDATION", 2)
    task = fashion.Fashion(str(data), examples=3)
    splits = {name: task.data(name) for name in ("train", "validation", "test")}
    whole, _ = fashion.load("train", str(data))

    assert {name: len(found) for name, found in splits.items()} == {
        "train": 3,
        "validation": 2,
        "test": 2,
    }
    assert splits["validation"].tensors[1].tolist() == [4, 5]
    assert whole.shape == (4, 14, 14, 1)
    random = np.random.default_rng(0)
    first = random.integers(0, 256, (6, 28, 28))[0]
    assert whole[0, 0, 0, 0].item() == round(first[:2, :2].mean())


def test_fashion_needs_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how to name one."""
    monkeypatch.delenv("WPACK_DATA", raising=False)
    with pytest.raises(UsageError) as caught:
        fashion.load("train")

    assert str(caught.value) == (
        "no folder of benchmark data is named. Set WPACK_DATA to the folder that has"
        " fashion/"
    )
