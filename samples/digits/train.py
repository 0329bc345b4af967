"""Trains the sample's two checkpoints, untied, from nothing (about a minute).

    python -m samples.digits.train              # from the repository's folder

Expected on the test split: vit 98 %, resnet 99 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from samples.digits.data import SPLITS, digits, shifted
from samples.digits.models import ResNet, VisionTransformer

HERE = Path(__file__).parent
BATCH_SIZE = 50  # 22 steps an epoch
WARMUP_STEPS = 200
SEED = 0


@dataclass(frozen=True)
class Recipe:
    """What differs between the two networks."""

    build: type[nn.Module]
    epochs: int
    learning_rate: float


RECIPES = {
    "vit": Recipe(VisionTransformer, epochs=150, learning_rate=1.5e-3),
    "resnet": Recipe(ResNet, epochs=40, learning_rate=4e-3),
}


def accuracy(model: nn.Module, split: str) -> float:
    """Share of the split's images that ``model`` names correctly."""
    images, labels = digits(split)
    model.eval()
    with torch.inference_mode():
        return float((model(images).argmax(1) == labels).float().mean())


def rate_factor(step: int, steps: int) -> float:
    """Share of the peak learning rate: a ramp, under a cosine down to zero."""
    return (
        min(1.0, (step + 1) / WARMUP_STEPS)
        * 0.5
        * (1.0 + math.cos(math.pi * step / steps))
    )


def train(recipe: Recipe) -> nn.Module:
    """A network trained from nothing on the train split, with AdamW."""
    torch.manual_seed(SEED)
    generator = torch.Generator().manual_seed(SEED)
    model = recipe.build().train()
    images, labels = digits("train")
    steps = recipe.epochs * len(images) // BATCH_SIZE
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, partial(rate_factor, steps=steps)
    )
    for _ in range(recipe.epochs):
        order = torch.randperm(len(images), generator=generator)
        for rows in order.split(BATCH_SIZE):
            logits = model(shifted(images[rows], generator))
            loss = F.cross_entropy(logits, labels[rows], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model


def main() -> None:
    """Train both, print what they reach, write them beside this file."""
    for name, recipe in RECIPES.items():
        model = train(recipe)
        scores = ", ".join(f"{s} {100 * accuracy(model, s):.2f} %" for s in SPLITS)
        print(f"{name}: {scores}", flush=True)
        save_file(model.state_dict(), HERE / f"{name}.safetensors")


if __name__ == "__main__":
    main()
