"""What ``compare`` compares: the untied network, the paper's recipe, and wpack's."""

from __future__ import annotations

from collections.abc import Collection
from math import ceil
from typing import Any

from benchmarks.trials import Arm

#: Depth → weights in the kernels inside the blocks, by stage.
KERNELS = {20: (13_824, 50_688, 202_752), 56: (41_472, 161_280, 645_120)}
#: Working weights to a backing weight, at most, where the last stage alone is tied.
MOST = 6
UNTIED = Arm("untied")
RECIPE, OURS = "the paper's recipe", "wpack's"
#: What wpack adds to the paper's recipe, and what it is.
INGREDIENTS = {
    "repair": "the pool is scaled back to the weights' root mean square",
    "logits": "the checkpoint's own outputs are targets",
    "hints": "the outputs of its blocks are targets",
    "gradual": "ties fade in over the first quarter of the steps",
}
#: What was tried beside them.
TRIED = {
    "layout": "the last stage alone is tied, so that as many weights are stored",
    "saliency": "means weighted by Fisher information",
}
DISTIL = {"weight": 0.9, "temperature": 4}
HINTS = {"modules": ["layer?.*"], "weight": 16.0, "anneal": True}
GRADUAL = 0.25


def tied(name: str, ratio: float, parts: Collection[str], depth: int) -> Arm:
    """An arm with a pool.

    Args:
        ratio: Kernel weights over what is stored of them.
        parts: Some of :data:`INGREDIENTS` and :data:`TRIED`.
        depth: Of the ResNet.
    """
    settings: dict[str, Any] = {
        "pools.blocks.repair": "rms" if "repair" in parts else "none",
        **(_last_stages(ratio, depth) if "layout" in parts else _all(ratio)),
    }
    if "saliency" in parts:
        settings["pools.blocks.projection"] = "fisher"
    if "gradual" in parts:
        settings["finetune.gradual"] = GRADUAL
    if "logits" in parts or "hints" in parts:
        settings["finetune.distill"] = {
            **(DISTIL if "logits" in parts else {"weight": 0.0}),
            **({"hints": HINTS} if "hints" in parts else {}),
        }
    return Arm(f"{name}, {ratio}", settings)


def main_arms(ratio: float, depth: int) -> list[Arm]:
    """The two that are compared at a ratio."""
    return [
        tied(RECIPE, ratio, (), depth),
        tied(OURS, ratio, INGREDIENTS, depth),
    ]


def part_arms(ratio: float, depth: int) -> list[Arm]:
    """Each ingredient added to the recipe, and left out of what wpack does; what was
    tried, added to both."""
    found = []
    for name in INGREDIENTS:
        rest = [other for other in INGREDIENTS if other != name]
        found.append(tied(f"with {name} alone", ratio, [name], depth))
        found.append(tied(f"without {name}", ratio, rest, depth))
    for name in TRIED:
        found.append(tied(f"with {name} alone", ratio, [name], depth))
        found.append(tied(f"with {name} too", ratio, [*INGREDIENTS, name], depth))
    return found


def _all(ratio: float) -> dict[str, Any]:
    return {"pools.blocks.ratio": ratio}


def _last_stages(ratio: float, depth: int) -> dict[str, Any]:
    """As many weights stored with the last stage alone in the pool, or the last two."""
    first, second, last = KERNELS[depth]
    stored = ceil((first + second + last) / ratio)
    alone = stored - first - second
    if alone * MOST >= last:
        return _pool("layer3.*.conv?.weight", alone)
    return _pool("layer[23].*.conv?.weight", stored - first)


def _pool(pattern: str, backing: int) -> dict[str, Any]:
    return {
        "pools.blocks.tensors": [pattern],
        "pools.blocks.size": backing,
        "pools.blocks.ratio": None,
    }
