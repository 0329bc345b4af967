"""The benchmarks' networks and data readers, on what the tests make themselves."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.cifar10 import data as cifar10
from benchmarks.cifar10.resnet import ResNet
from benchmarks.cifar10.task import Cifar10
from benchmarks.stories.model import Config, Llama, nll, rotated
from wpack.errors import UsageError
from wpack.planner import make_plan
from wpack.spec import load
from wpack.tensors import FLOAT32, TensorInfo

FOLDER = Path(__file__).parents[1] / "benchmarks"
#: Mean and standard deviation of red, green and blue that the checkpoints expect.
CHANNELS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def count(module: nn.Module) -> int:
    """Parameters of a network, those it shares once."""
    return sum(p.numel() for p in module.parameters())


def infos(module: nn.Module) -> list[TensorInfo]:
    """What a float32 checkpoint of a network would list."""
    parameters = module.named_parameters()
    return [TensorInfo(name, FLOAT32, tuple(p.shape)) for name, p in parameters]


@pytest.mark.parametrize(
    ("depth", "parameters", "tieable"),
    [(20, 269_722, 267_264), (56, 853_018, 847_872)],
)
def test_resnet_has_the_published_size(
    depth: int, parameters: int, tieable: int
) -> None:
    """Parameters as published, and those that the specs here pool."""
    model = ResNet(depth)
    plan = make_plan(load(FOLDER / "cifar10" / "r20-2.57.yaml"), infos(model)).plan

    assert parameters == count(model)
    assert [tieable] == [pool.working for pool in plan.pools]
    assert (2, 10) == model(torch.zeros(2, 3, 32, 32)).shape


@pytest.mark.parametrize("ratio", [1.44, 2.57])
def test_specs_are_named_by_their_ratio(ratio: float) -> None:
    """A spec's file name says what its pool's ratio is."""
    plan = make_plan(load(FOLDER / f"cifar10/r20-{ratio}.yaml"), infos(ResNet(20))).plan

    assert [ratio] == [pytest.approx(pool.ratio, rel=1e-3) for pool in plan.pools]


def test_shortcut_without_parameters() -> None:
    """Where a stage begins, the shortcut is every other pixel between zero channels."""
    block = ResNet(20).layer2[0].eval()
    for norm in (block.bn1, block.bn2):
        nn.init.zeros_(norm.weight)  # leaves the shortcut alone
    maps = torch.rand(1, 16, 8, 8)
    expected = torch.zeros(1, 32, 4, 4)
    expected[:, 8:24] = maps[:, :, ::2, ::2]

    assert torch.equal(expected, block(maps))


def jpeg(value: int) -> bytes:
    """A JPEG file of 32×32 equal pixels."""
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (value, value, value)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with seven training and four test images, two held out."""
    monkeypatch.setattr(cifar10, "VALIDATION", 2)
    (tmp_path / "cifar10").mkdir()
    for name, values in (("train", range(0, 210, 30)), ("test", range(4))):
        files = [jpeg(value) for value in values]
        header = _shared(files)
        bodies = [file[len(header) :] for file in files]
        np.savez(
            tmp_path / "cifar10" / f"cifar10_jpeg_{name}.npz",
            header=np.frombuffer(header, np.uint8),
            body=np.frombuffer(b"".join(bodies), np.uint8),
            offsets=np.cumsum([0, *map(len, bodies)]).astype(np.uint32),
            labels=np.arange(len(files), dtype=np.uint8),
        )
    return tmp_path


def _shared(files: list[bytes]) -> bytes:
    """What all files begin with."""
    columns = zip(*files, strict=False)
    same = next(i for i, column in enumerate(columns) if len(set(column)) > 1)
    return files[0][:same]


def test_cifar10_archives_are_decoded(archives: Path) -> None:
    """Each image is its JPEG's; validation is the end of the training archive."""
    splits = {
        split: cifar10.load(split, str(archives))
        for split in ("train", "validation", "test")
    }

    assert {"train": [0, 1, 2, 3, 4], "validation": [5, 6], "test": [0, 1, 2, 3]} == {
        split: labels.tolist() for split, (_, labels) in splits.items()
    }
    assert [150, 180] == splits["validation"][0].flatten(1).float().mean(1).tolist()
    assert (5, 32, 32, 3) == splits["train"][0].shape


def test_cifar10_task_normalises(archives: Path) -> None:
    """Evaluation sees whole images, each channel with its published mean and spread."""
    task = Cifar10(20, str(archives))
    images, labels = task.data("validation").batch(torch.tensor([1]), torch.Generator())
    expected = [(180 / 255 - m) / s for m, s in zip(*CHANNELS, strict=True)]

    assert [6] == labels.tolist()
    assert expected == pytest.approx(images[0, :, 5, 5].tolist(), abs=1e-6)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_cifar10_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of data is an error that names the variable to set."""
    monkeypatch.delenv("WPACK_DATA", raising=False)

    with pytest.raises(UsageError) as error:
        cifar10.load("test")

    assert (
        "no folder of benchmark data is named. Set WPACK_DATA to the folder that has"
        " cifar10/cifar10_jpeg_test.npz" == str(error.value)
    )


def test_llama_has_the_size_of_stories260k() -> None:
    """47 tensors, the output matrix being the embedding."""
    model = Llama()

    assert (260_032, 47) == (count(model), len(model.state_dict()))


def test_rotated_turns_pairs_by_their_angle() -> None:
    """Neighbouring entries turn by position × rate, as the paper's matrices do."""
    heads = torch.rand(1, 1, 3, 4)
    angles = Llama(Config(dim=8, n_heads=2, n_kv_heads=2)).angles(3)
    first, second = heads[0, 0, 2, 2:].tolist()
    angle = 2 * 10000.0 ** (-2 / 4)
    expected = [
        first * math.cos(angle) - second * math.sin(angle),
        first * math.sin(angle) + second * math.cos(angle),
    ]

    assert expected == pytest.approx(rotated(heads, angles)[0, 0, 2, 2:].tolist())


def test_llama_looks_back_only() -> None:
    """A later token changes no earlier logits."""
    torch.manual_seed(0)
    model = Llama(Config(n_layers=1)).eval()
    tokens = torch.arange(12).view(1, 12)
    changed = tokens.clone()
    changed[0, 8:] = 7

    def logits(texts: Tensor) -> Tensor:
        with torch.inference_mode():
            return model(texts)[0, :8]

    assert torch.allclose(logits(tokens), logits(changed), atol=1e-6)


def test_nll_of_a_model_that_knows_nothing() -> None:
    """Equal logits cost the logarithm of the vocabulary a token."""
    model = Llama(Config(n_layers=1, vocab_size=16))
    nn.init.zeros_(model.tok_embeddings.weight)

    assert math.log(16) == pytest.approx(nll(model, torch.zeros(2, 9).long()))
