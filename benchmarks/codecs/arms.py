"""What ``compare`` compares: networks, and the ways in which wpack stores them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks import trials
from wpack.chain import Chain
from wpack.spec import coding, load

HERE = Path(__file__).parent

Codecs = tuple[str | dict[str, Any], ...]
#: Of kept tensors where pools have codecs, or norms and biases are most of the file;
#: and where pools have fewer than two bits a weight.
HALF: Codecs = ("float16", "zstd")
EIGHT: Codecs = ({"int": 8}, "zstd")


def written(codecs: Iterable[Any]) -> Chain:
    """The chain that a spec's list of codecs is."""
    return Chain(TypeAdapter(coding.Codecs).validate_python(list(codecs)))


@dataclass(frozen=True)
class Network:
    """A network, its checkpoint and its training.

    Attributes:
        spec: Its pools at a ratio of 1, and the recipe that all arms share.
        rates: The learning rates that every arm chooses from.
        kept: Patterns of tensors that no pool has, a group each, which an arm codes.
        statistics: The same of running statistics, which span orders of magnitude: of
            those, blocks of whole numbers would lose the small.
        checkpoint: Where it lies, if it is part of the repository.
    """

    spec: Path
    rates: tuple[float, ...]
    kept: tuple[str, ...]
    statistics: tuple[str, ...] = ()
    checkpoint: Path | None = None


NETWORKS = {
    "digits-vit": Network(
        HERE / "specs" / "digits-vit.yaml",
        rates=(1e-3, 3e-3),
        kept=("*",),
        checkpoint=trials.ROOT / "samples" / "digits" / "vit.safetensors",
    ),
    "resnet56": Network(
        HERE / "specs" / "resnet56.yaml",
        rates=(0.01, 0.03),
        kept=("*.weight", "*.bias"),
        statistics=("*.running_*",),
    ),
}


@dataclass(frozen=True)
class Arm:
    """A way to store a network.

    Attributes:
        ratio: Of its pools.
        codecs: Of its pools.
        kept: Of kept tensors.
    """

    name: str
    ratio: float = 1
    codecs: Codecs = ()
    kept: Codecs = ()

    def on(self, network: Network) -> trials.Arm:
        """The arm for a network, by its spec."""
        found: dict[str, Any] = {}
        for pool in load(network.spec).pools:
            if self.ratio != 1:
                found[f"pools.{pool}.ratio"] = self.ratio
            if self.codecs:
                found[f"pools.{pool}.codecs"] = list(self.codecs)
        if self.kept:
            found["keep_codecs"] = {
                **{pattern: list(self.kept) for pattern in network.kept},
                **{pattern: list(HALF) for pattern in network.statistics},
            }
        return trials.Arm(self.name, found)


def coded(
    name: str, *codecs: str | dict[str, Any], ratio: float = 1, kept: Codecs = HALF
) -> Arm:
    """An arm whose kept tensors are coded, too."""
    return Arm(name, ratio, codecs, kept)


#: The network as it is, fine-tuned as all others are: what they are compared with, and
#: what rivals start from.
UNTIED = Arm("untied")
ARMS = (
    UNTIED,
    Arm("pools 1.44", 1.44),
    Arm("pools 2", 2),
    coded("int8", {"int": 8}),
    coded("int8, zstd", {"int": 8}, "zstd"),
    coded("int4", {"int": 4}),
    coded("int4, zstd", {"int": 4}, "zstd"),
    coded("int3, zstd", {"int": 3}, "zstd"),
    coded("kmeans 4, zstd", {"kmeans": 4}, "zstd"),
    # Deep Compression, Han et al. 2016, as its dense layers have it, and milder.
    coded("prune 0.9, kmeans 5, zstd", {"prune": 0.9}, {"kmeans": 5}, "zstd"),
    coded("prune 0.7, kmeans 5, zstd", {"prune": 0.7}, {"kmeans": 5}, "zstd"),
    coded("pools 2, int8", {"int": 8}, ratio=2),
    coded("pools 1.25, int4, zstd", {"int": 4}, "zstd", ratio=1.25),
    coded("pools 1.44, int4, zstd", {"int": 4}, "zstd", ratio=1.44),
    coded("pools 2, int4, zstd", {"int": 4}, "zstd", ratio=2),
    coded("pools 1.25, int3, zstd", {"int": 3}, "zstd", ratio=1.25),
    coded("pools 1.44, int3, zstd", {"int": 3}, "zstd", ratio=1.44),
    coded("ternary, zstd", "ternary", "zstd", kept=EIGHT),
    coded("prune 0.8, int3, zstd", {"prune": 0.8}, {"int": 3}, "zstd", kept=EIGHT),
    coded("pools 1.44, ternary, zstd", "ternary", "zstd", ratio=1.44, kept=EIGHT),
    coded("pools 2, ternary, zstd", "ternary", "zstd", ratio=2, kept=EIGHT),
    coded(
        "pools 1.44, prune 0.7, int3, zstd",
        *({"prune": 0.7}, {"int": 3}, "zstd"),
        ratio=1.44,
        kept=EIGHT,
    ),
)
