"""The benchmark of codecs, on a task of milliseconds and without the other tools."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from benchmarks import trials
from benchmarks.codecs import compare, compare_plot
from benchmarks.codecs.arms import ARMS, NETWORKS, UNTIED, Arm, Network
from benchmarks.trials import Run, Study
from tests.blobs import needs
from tests.tiny import noisy
from wpack import api
from wpack.errors import UsageError, WpackError
from wpack.spec import load
from wpack.tasks import Task, TensorData

# The first optimiser that is made imports it: before the forks, and not in each.
importlib.import_module("torch._dynamo")

SPEC = """
version: 1
pools: {main: {tensors: ["0.weight"], ratio: 1}}
finetune:
  task: tests.test_benchmark_codecs_compare:quadrants
  steps: 4
  batch_size: 10
"""
STACKED = Arm("pools 2, int4, zstd", 2, ({"int": 4}, "zstd"), ("float16", "zstd"))


class Quadrants(Task):
    """Which of two pairs of quadrants a point lies in."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.Linear(2, 48), nn.ReLU(), nn.Linear(48, 2))

    def data(self, split: str) -> TensorData:
        generator = torch.Generator().manual_seed(len(split))
        inputs = torch.randn(40, 2, generator=generator)
        labels = (inputs.prod(1) > 0).long()
        return TensorData(inputs, labels, transform=noisy if split == "train" else None)


quadrants = Quadrants()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A network of two layers, the first in a pool."""
    (tmp_path / "spec.yaml").write_text(SPEC)
    torch.manual_seed(0)
    save_file(quadrants.model().state_dict(), tmp_path / "start.safetensors")
    (tmp_path / "runs").mkdir()
    start = tmp_path / "start.safetensors"
    return Study(tmp_path / "spec.yaml", start, tmp_path / "runs")


def small(study: Study) -> Network:
    """What the study is of."""
    return Network(study.spec, (0.01, 1e30), ("*",))


def run_of(arm: Arm, study: Study, seed: int = 0, rate: float = 0.01) -> Run:
    """A run on the small network."""
    return Run(arm.on(small(study)), seed, rate)


def test_names_of_arms_are_unique() -> None:
    """A record says which arm it is of, and the first is what all are compared with."""
    names = [arm.name for arm in ARMS]

    assert UNTIED == ARMS[0]
    assert sorted(set(names)) == sorted(names)


@needs("prune, int, kmeans, ternary, float16, zstd")
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_arms_differ_in_pools_and_kept_tensors_alone(
    arm: Arm, network: Network
) -> None:
    """Every pool has the arm's ratio and codecs; the recipe is everybody's, but for
    rate and seed."""
    run = Run(arm.on(network), seed=5, rate=0.125)
    spec = run.spec(Study(network.spec, Path("x"), Path("y"), {"finetune.steps": 7}))
    plain = load(network.spec)

    assert spec.pools.keys() == plain.pools.keys()
    assert {arm.ratio} == {pool.ratio for pool in spec.pools.values()}
    assert {len(arm.codecs)} == {len(pool.codecs) for pool in spec.pools.values()}
    assert bool(arm.kept) == bool(spec.keep_codecs) == bool(arm.codecs)
    assert spec.finetune is not None
    assert plain.finetune is not None
    optimizer = plain.finetune.optimizer.model_copy(update={"lr": 0.125})
    changed = {"optimizer": optimizer, "seed": 5, "steps": 7}
    assert plain.finetune.model_copy(update=changed) == spec.finetune


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch, study: Study) -> list[str]:
    """What compares the network as it is with a stacked one, on two seeds."""
    monkeypatch.setattr(compare, "ARMS", (UNTIED, STACKED))
    monkeypatch.setitem(NETWORKS, "tiny", small(study))
    results = study.checkpoint.with_name("found.json")
    return [
        *("tiny", "--json", str(results), "--seeds", "3,4"),
        *("--checkpoint", str(study.checkpoint)),
    ]


@needs("int, float16, zstd")
def test_a_comparison(
    options: list[str],
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each arm chooses a rate with the first seed and runs once with each other; it has
    files, a figure and a table, and what there is is not made again."""
    pytest.importorskip("matplotlib")
    compare.main(options)
    results = study.checkpoint.with_name("found.json")
    first = json.loads(results.read_text())
    ran = [(r["arm"], r["seed"], r["rate"], "failed" in r) for r in first["runs"]]
    monkeypatch.setattr(trials, "train", None)
    compare.main(options)

    assert json.loads(results.read_text()) == first
    assert results.with_suffix(".png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert {arm.name: 0.01 for arm in (UNTIED, STACKED)} == first["chosen_rates"]
    assert [
        (arm, *run)
        for arm in (STACKED.name, UNTIED.name)
        for run in ((3, 0.01, False), (3, 1e30, True), (4, 0.01, False))
    ] == sorted(ran)
    assert [UNTIED.name, STACKED.name] == [p["name"] for p in first["points"]]
    assert "smallest with at most 1 point of loss:" in capsys.readouterr().out


@needs("int, float16, zstd")
def test_a_record_is_of_the_file(study: Study) -> None:
    """Its bytes, and what ``wpack eval`` finds; nothing else is left of the run."""
    run = run_of(STACKED, study)
    found = trials.record(run, study)
    path = run.path(study)

    assert path.stat().st_size == found["nbytes"]
    assert api.evaluate(path, study.task)["accuracy"] == found["metrics"]["accuracy"]
    assert ("pools 2, int4, zstd", 0, 0.01) == (
        found["arm"],
        found["seed"],
        found["rate"],
    )
    assert found["command"].startswith("wpack finetune start.safetensors -s spec.yaml")
    assert [path.with_suffix(".json"), path] == sorted(study.folder.iterdir())


@needs("int, float16, zstd")
def test_a_stopped_run_goes_on(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives the file that it would have given."""
    run, whole = run_of(STACKED, study), run_of(STACKED, study).path(study)
    trials.train(run, study)
    expected = whole.read_bytes()
    whole.unlink()
    monkeypatch.setattr(trials.api, "inflate", None)
    with pytest.raises(TypeError):
        trials.train(run, study)
    monkeypatch.undo()
    trials.train(run, study)

    assert expected == whole.read_bytes()


@needs("int, float16, zstd")
def test_other_settings_are_other_files(study: Study) -> None:
    """Nothing is taken for the record of another rate, seed, length or arm."""
    longer = Study(study.spec, study.checkpoint, study.folder, {"finetune.steps": 5})
    paths = {
        run_of(UNTIED, study).path(study),
        run_of(UNTIED, study, rate=0.02).path(study),
        run_of(UNTIED, study, seed=1).path(study),
        run_of(UNTIED, study).path(longer),
        run_of(STACKED, study).path(study),
    }

    assert 5 == len(paths)


def test_a_file_must_be_what_training_evaluated(study: Study) -> None:
    """Another accuracy, or a damaged file, is no result."""
    path = study.folder / "x.wpool"
    api.compress(study.checkpoint, load(study.spec), path)
    metrics, plain = {"accuracy": 0.5}, study.folder / "plain.safetensors"
    api.inflate(path, plain)

    assert plain.stat().st_size == trials.check(path, metrics, metrics)
    with pytest.raises(WpackError, match=r"eval \{'accuracy': 0.25\}"):
        trials.check(path, metrics, {"accuracy": 0.25})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WpackError, match="SHA-256"):
        trials.check(path, metrics, metrics)


def tuned(arm: str, rate: float, accuracy: float, loss: float) -> dict[str, Any]:
    """A record, as far as its rate may be chosen."""
    validation = {"accuracy": accuracy, "loss": loss}
    return {"arm": arm, "rate": rate, "validation": validation, "metrics": None}


def test_rates_are_chosen_on_validation() -> None:
    """By accuracy, then by loss; a training that failed is none."""
    records = [
        tuned("a", 0.1, 0.5, 0.2),
        tuned("a", 0.2, 0.75, 0.4),
        tuned("a", 0.3, 0.75, 0.3),
        {"arm": "a", "rate": 0.4, "failed": "the loss is nan"},
        tuned("b", 0.1, 0.5, 0.2),
    ]

    assert {"a": 0.3, "b": 0.1} == trials.chosen(records)


def ran(arm: str, seed: int, nbytes: int, accuracy: float) -> dict[str, Any]:
    """A record, as far as it is drawn."""
    return {
        "arm": arm, "seed": seed, "rate": 0.1, "nbytes": nbytes,
        "inflated_nbytes": 1000, "metrics": {"accuracy": accuracy},
    }  # fmt: skip


def rival(name: str, nbytes: int, accuracy: float, changed: float) -> dict[str, Any]:
    """A rival's row, as far as it is drawn."""
    metrics = {"accuracy": accuracy}
    return {
        "name": name, "absent": None, "nbytes": nbytes, "metrics": metrics,
        "changed": changed,
    }  # fmt: skip


@pytest.fixture
def document() -> dict[str, Any]:
    """Results of two seeds."""
    return {
        "network": "tiny",
        "steps": 4,
        "seeds": [0, 1],
        "chosen_rates": {"untied": 0.1, "int4": 0.1, "pools 2, int4": 0.1},
        "runs": [
            ran("untied", 0, 1010, 0.75),
            ran("untied", 1, 1010, 0.875),
            ran("int4", 0, 200, 0.75),
            ran("int4", 1, 202, 0.875),
            {**ran("int4", 0, 100, 1.0), "rate": 0.2},
            ran("pools 2, int4", 0, 101, 0.5),
            {"arm": "pools 2, int4", "seed": 0, "rate": 0.2, "failed": "nan"},
        ],
        "rivals": [
            {
                "seed": 0,
                "rows": [
                    rival("zipnn fp32", 850, 0.75, 0.0),
                    rival("nncodec qp -20", 150, 0.75, 0.5),
                    rival("nncodec qp -10", 120, 0.5, 0.5),
                    {"name": "torchao int8", "absent": "not installed"},
                ],
            }
        ],
    }


def test_points_are_paired(document: dict[str, Any]) -> None:
    """An arm's loss is against the untied network of the same seed; runs at other rates
    and tools that are not there are no points."""
    found = {point["name"]: point for point in compare_plot.points(document)}
    int4 = found["int4"]

    assert ["untied", "zipnn fp32", "int4", "nncodec qp -20", "nncodec qp -10",
            "pools 2, int4"] == list(found)  # fmt: skip
    assert (201, 0.201, 0.8125, 0.0, 2) == (
        int4["nbytes"],
        int4["share"],
        int4["accuracy"],
        int4["loss"],
        int4["runs"],
    )
    assert 0.125 / 2**0.5 == pytest.approx(int4["deviation"])
    assert (0.25, 0.0) == (found["pools 2, int4"]["loss"], found["untied"]["loss"])
    assert ["untied", "zipnn", "wpack, codecs", "nncodec", "wpack, pools × codecs"] == [
        *dict.fromkeys(point["kind"] for point in found.values())
    ]
    assert {"zipnn fp32"} == {n for n, point in found.items() if point["is_lossless"]}


def test_the_table_says_who_wins(document: dict[str, Any]) -> None:
    """Within a point of loss, and against each rival that is not lossless."""
    document["points"] = compare_plot.points(document)
    *_, wpack, rivals, _, _, first, second = compare_plot.table(document).splitlines()

    assert "  wpack   int4 (201 bytes, 1/5.0, 81.25%)" == wpack
    assert "  rivals  nncodec qp -20 (150 bytes, 1/6.7, 75.00%)" == rivals
    assert (
        "  LARGER   nncodec qp -20 (150 bytes, 1/6.7, 75.00%) — int4 (201 bytes, 1/5.0,"
        " 81.25%)"
    ) == first
    assert (
        "  smaller  nncodec qp -10 (120 bytes, 1/8.3, 50.00%) — pools 2, int4 (101"
        " bytes, 1/9.9, 50.00%)"
    ) == second


def test_rivals_get_the_untied_network(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the safetensors file that its run inflates to, in their own environment, and
    only once."""
    run, calls = run_of(UNTIED, study), []
    trials.train(run, study)

    def measured(words: list[str], **_: Any) -> Any:
        calls.append(words)
        assert api.diff(words[3], run.path(study)).same
        return subprocess.CompletedProcess(words, 0, b"[]")

    monkeypatch.setattr(compare.subprocess, "run", measured)
    for _ in range(2):
        found = compare.rival_rows(run, study, "python9", ["zipnn"])

        assert {"seed": 0, "rows": []} == found
    assert 1 == len(calls)
    assert ["python9", "-m", "benchmarks.codecs.rivals"] == calls[0][:3]
    assert ["--task", study.task, "--json", "--repeats", "1"] == calls[0][4:9]
    assert ["--only", "zipnn"] == calls[0][9:]


def test_rivals_that_fail_are_told_of(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the place of what they said, and without a record."""
    run = run_of(UNTIED, study)
    trials.train(run, study)
    failed = subprocess.CompletedProcess([], 1, b"")
    monkeypatch.setattr(compare.subprocess, "run", lambda *_, **__: failed)
    log = run.path(study).with_suffix(".rivals.log")
    with pytest.raises(UsageError) as caught:
        compare.rival_rows(run, study, "python9", [])

    assert f"{log}: the other tools cannot be measured" == str(caught.value)
    assert not log.with_suffix(".json").exists()


def test_arguments_are_checked() -> None:
    """An arm that there is not, and a network without a checkpoint, are told of."""
    begin = ["--json", "x.json"]
    with pytest.raises(UsageError, match=r"no arm 'int9'. There are: untied; "):
        compare.arguments(["digits-vit", *begin, "--arms", "int9"])
    with pytest.raises(UsageError, match="resnet56 needs a --checkpoint"):
        compare.arguments(["resnet56", *begin])

    words = ["--seeds", "2", "--rates", "1e-3", "--rivals", "/far/away/python"]
    found = compare.arguments(["digits-vit", *begin, *words])
    assert ([2], [0.001]) == (found.seeds, found.rates)
    assert "--rivals python" == " ".join(found.shown[-2:])
    assert Path("runs/x") == found.runs
    assert trials.ROOT / "samples" / "digits" / "vit.safetensors" == found.checkpoint
