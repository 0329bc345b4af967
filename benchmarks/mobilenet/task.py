"""How far a network strays from MLPerf Tiny's published person detector, for
``wpack eval`` and ``wpack finetune``.  Run from the repository's folder:

    export WPACK_DATA=…      # has models/ and cifar10/cifar10_lossless_…
    wpack eval person.wpool --task benchmarks.mobilenet.task:agreement

The photographs that the detector was trained on (visual wake words, from COCO) are not
in the benchmark data, so there is no accuracy to measure.  What can be measured is
agreement: on other real photographs, how often the network decides as the published
checkpoint does, and how far its probabilities are from the checkpoint's.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cifar10.data import data_folder
from benchmarks.mobilenet.model import MobileNet
from wpack.tasks import Task, TensorData

CHECKPOINT = "models/mlperftiny-mobilenetv1-0.25-vww96.safetensors"
IMAGES = "cifar10/cifar10_lossless_train_first4000.npz"
PIXELS = 96
#: Which of the 4,000 images each split has.
SPLITS = {
    "train": slice(0, 2500),
    "validation": slice(2500, 3000),
    "test": slice(3000, 4000),
}


class Agreement(Task):
    """CIFAR-10's photographs, enlarged; the target is what the published checkpoint
    says of them, so training needs no labels.

    Args:
        folder: The data's folder; None for the environment's ``WPACK_DATA``.
    """

    metric = "kl"
    lower_is_better = ("loss", "kl")

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def model(self) -> nn.Module:
        return MobileNet()

    def data(self, split: str) -> TensorData:
        folder = data_folder(self.folder)
        with np.load(folder / IMAGES, allow_pickle=False) as arrays:
            images = torch.from_numpy(arrays["images"][SPLITS[split]])
        return TensorData(images, published(folder, split), transform=enlarged)

    def targets(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The class that the published checkpoint decides for."""
        return batch[1].argmax(1)

    def metrics(
        self, outputs: Tensor, batch: tuple[Tensor, Tensor]
    ) -> dict[str, Tensor]:
        """``agreement``: the same decision, 0 or 1; ``kl``: Kullback-Leibler divergence
        of the probabilities from the published checkpoint's, in nats."""
        ours = outputs.float().log_softmax(1)
        theirs = batch[1].log_softmax(1)
        return {
            "agreement": ours.argmax(1) == theirs.argmax(1),
            "kl": F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1),
        }


def enlarged(
    batch: tuple[Tensor, ...], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """uint8 images ``(batch, 32, 32, 3)`` as the network takes them:
    ``(batch, 3, 96, 96)`` in 0 … 1."""
    images, targets = batch
    planes = images.permute(0, 3, 1, 2).float() / 255
    return F.interpolate(planes, size=PIXELS, mode="bilinear"), targets


@cache
def published(folder: Path, split: str) -> Tensor:
    """Logits of the published checkpoint, ``(images, 2)``."""
    model = MobileNet().eval()
    model.load_state_dict(load_file(folder / CHECKPOINT))
    with np.load(folder / IMAGES, allow_pickle=False) as arrays:
        images = torch.from_numpy(arrays["images"][SPLITS[split]])
    with torch.inference_mode():
        logits = [
            model(enlarged((part, part), torch.Generator())[0])
            for part in images.split(100)
        ]
    return torch.cat(logits)


agreement = Agreement()
