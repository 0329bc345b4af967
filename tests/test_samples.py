"""The digits sample: its data, its networks, and the checkpoints it ships."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from samples.digits.data import SPLITS, digits, shifted
from samples.digits.task import Digits, resnet, vit
from wpack import checkpoint
from wpack.planner import make_plan
from wpack.spec import load
from wpack.tasks import make_task

FOLDER = Path(__file__).parents[1] / "samples" / "digits"
TASKS = {"vit": vit, "resnet": resnet}
#: Accuracy in percent that the shipped checkpoints have at least.
FLOOR = {"vit": 97.0, "resnet": 98.0}
#: The first labels of each split.
LABELS = {
    "train": [2, 8, 2, 6, 6, 7, 1, 9, 8, 5, 2, 8],
    "validation": [7, 7, 4, 5, 3, 1, 8, 5, 9, 6, 2, 9],
    "test": [2, 7, 4, 0, 4, 2, 7, 7, 9, 1, 9, 0],
}


def test_splits_are_the_whole_data() -> None:
    """Every one of the 1,797 images is in exactly one split."""
    images, labels = zip(*(digits(split) for split in SPLITS), strict=True)

    assert [1100, 297, 400] == [len(part) for part in labels]
    assert (1797, 1, 8, 8) == torch.cat(images).shape
    assert [178, 182, 177, 183, 181, 182, 181, 179, 174, 180] == (
        torch.cat(labels).bincount().tolist()
    )


def test_split_is_the_same_for_ever() -> None:
    """The shuffle is the one that the shipped checkpoints were trained with."""
    assert LABELS == {split: digits(split)[1][:12].tolist() for split in SPLITS}


def test_shifted_moves_half_of_the_images_by_one() -> None:
    """A shifted image is one of the nine moves of its original; half stay."""
    images, _ = digits("train")
    moved = shifted(images, torch.Generator().manual_seed(0))
    blank = float(images.min())
    canvas = torch.nn.functional.pad(images, (1, 1, 1, 1), value=blank)
    moves = torch.stack(
        [canvas[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    )
    same = (moves == moved).flatten(2).all(2)  # (move, image)

    assert same.any(0).all()
    assert 0.5 == pytest.approx(float(same[4].float().mean()), abs=0.1)


def test_shifted_follows_its_generator() -> None:
    """The same generator gives the same images, whatever torch's own does."""
    images, _ = digits("test")

    def once() -> Tensor:
        return shifted(images, torch.Generator().manual_seed(3))

    assert torch.equal(once(), once())


@pytest.mark.parametrize("name", TASKS)
def test_checkpoint_fits_its_network(name: str) -> None:
    """A shipped checkpoint has the network's names and shapes, and is small."""
    path = FOLDER / f"{name}.safetensors"
    expected = {k: v.shape for k, v in TASKS[name].model().state_dict().items()}

    assert expected == {k: v.shape for k, v in load_file(path).items()}
    assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("name", TASKS)
def test_checkpoint_is_well_trained(name: str) -> None:
    """The shipped checkpoints name unseen images as well as their script says."""
    model = TASKS[name].model().eval()
    model.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))
    images, labels = digits("test")
    with torch.inference_mode():
        correct = (model(images).argmax(1) == labels).float()

    assert 100 * float(correct.mean()) >= FLOOR[name]


@pytest.mark.parametrize("name", TASKS)
def test_task_is_found_by_name(name: str) -> None:
    """The reference in a spec gives the task, and its training batches are moved."""
    task = make_task(f"samples.digits.task:{name}")
    data = task.data("train")
    images, labels = data.batch(torch.arange(50), torch.Generator().manual_seed(0))

    assert isinstance(task, Digits)
    assert ((50, 1, 8, 8), (50,)) == (images.shape, labels.shape)
    assert not torch.equal(digits("train")[0][:50], images)


@pytest.mark.parametrize(
    ("name", "expected"),
    {
        "vit": {
            "query": 12_288,
            "key": 12_288,
            "value": 12_288,
            "output": 12_288,
            "mlp1": 36_864,
            "mlp2": 36_864,
        },
        "resnet": {"blocks": 86_528},
    }.items(),
)
def test_spec_halves_the_pools(name: str, expected: dict[str, int]) -> None:
    """Each pool of a shipped spec holds half of the weights it makes."""
    with checkpoint.open(FOLDER / f"{name}.safetensors") as file:
        plan = make_plan(load(FOLDER / f"{name}.yaml"), file.infos).plan

    assert expected == {pool.name: pool.backing for pool in plan.pools}
    assert all(pool.ratio == pytest.approx(2, rel=1e-3) for pool in plan.pools)


@pytest.mark.parametrize(
    ("name", "backing", "stages"),
    [
        pytest.param(name, backing, stages, marks=pytest.mark.codec("int", *stages))
        for name, backing, stages in [
            ("deep-compression", 245_760, ("prune", "kmeans", "zstd")),
            ("stacked", 122_880, ("int", "zstd")),
        ]
    ],
)
def test_coded_specs(name: str, backing: int, stages: tuple[str, ...]) -> None:
    """The specs with codecs fit the transformer, and their pool has the chain that they
    are named for."""
    with checkpoint.open(FOLDER / "vit.safetensors") as file:
        plan = make_plan(load(FOLDER / f"{name}.yaml"), file.infos).plan

    assert [("blocks", backing, stages)] == [
        (pool.name, pool.backing, pool.chain.names) for pool in plan.pools
    ]
    assert [3] == [len(group.infos) for group in plan.groups]
