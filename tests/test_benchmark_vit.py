"""The benchmark of a vision transformer: its network, data and specs."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.vit.compare import SUBJECT
from benchmarks.vit.model import VisionTransformer
from benchmarks.vit.task import task
from wpack.planner import make_plan
from wpack.spec import load
from wpack.tensors import FLOAT32, TensorInfo

#: All matrices of the blocks: six times 12 · 96².
POOLED = 6 * 12 * 96**2


def test_network() -> None:
    """Any size of image and patch; the logits depend on every patch."""
    torch.manual_seed(0)
    model = VisionTransformer(size=8, channels=3, patch=4, width=6, depth=1, heads=2)
    images = torch.randn(2, 3, 8, 8)
    changed = images.clone()
    changed[1, :, 4:, 4:] += 1
    same = (model(images) == model(changed)).all(1)

    assert (2, 10) == model(images).shape
    assert [True, False] == same.tolist()


@pytest.mark.parametrize("name", ["base", "one", "split"])
def test_specs_pool_the_matrices_of_the_blocks(name: str) -> None:
    """All of them and nothing else, and all specs but the first share their recipe."""
    state = VisionTransformer().state_dict()
    infos = [TensorInfo(n, FLOAT32, tuple(t.shape)) for n, t in state.items()]
    spec = load(SUBJECT.folder / f"{name}.yaml")
    plan = make_plan(spec, infos).plan

    assert POOLED == sum(pool.working for pool in plan.pools)
    if name == "base":
        assert {1.0} == {pool.ratio for pool in spec.pools.values()}
    else:
        assert load(SUBJECT.folder / "one.yaml").finetune == spec.finetune


def test_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of 28×28, as the network takes them; the last 5,000 are held out."""
    monkeypatch.setenv("WPACK_DATA", str(tmp_path))
    (tmp_path / "fashion").mkdir()
    pixels = np.zeros((5003, 28, 28), np.uint8)
    pixels[:, 0, 0] = 255
    for archive in ("train", "t10k"):
        for name, array in (("images-idx3", pixels), ("labels-idx1", pixels[:, 0, 0])):
            sizes = np.array(array.shape, ">i4").tobytes()
            data = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            path = tmp_path / "fashion" / f"{archive}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(data, 1))
    train, test = task.data("train"), task.data("test")
    images, _ = train.batch(torch.arange(3), torch.Generator().manual_seed(0))
    plain, _ = test.batch(torch.arange(3), torch.Generator())

    assert (3, 5000, 5003) == (len(train), len(task.data("validation")), len(test))
    assert (3, 10) == task.model()(images).shape
    assert bool((plain[:, 0, 0, 0] > 1).all())
    assert {0, 27} >= set(images[:, 0, 0].argmax(1).tolist())
