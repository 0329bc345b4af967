"""A small transformer's tensors, and what a spec's body claims of them."""

from __future__ import annotations

import pytest

from wpack.errors import SpecError
from wpack.spec import Claims, claims, parse
from wpack.tensors import BY_NAME, TensorInfo


def info(name: str, *shape: int, dtype: str = "float32", alias: str = "") -> TensorInfo:
    """A tensor of a checkpoint."""
    return TensorInfo(name, BY_NAME[dtype], shape, alias or None)


def vit(blocks: int = 2) -> list[TensorInfo]:
    """A small transformer: fused qkv, norms, embeddings tied to the head."""
    found = [info("embed.weight", 10, 4), info("embed.ids", 2, 3, dtype="int64")]
    for i in range(blocks):
        found += [
            info(f"blocks.{i}.norm.weight", 4),
            info(f"blocks.{i}.qkv.weight", 12, 4),
            info(f"blocks.{i}.qkv.bias", 12),
            info(f"blocks.{i}.mlp.weight", 8, 4),
        ]
    return [*found, info("head.weight", 10, 4, alias="embed.weight")]


def resolve(body: str, infos: list[TensorInfo] | None = None) -> Claims:
    """Claims of a spec's body (after its version) on the transformer."""
    return claims(parse("version: 1\n" + body, "s"), infos or vit())


def problems(body: str, infos: list[TensorInfo] | None = None) -> list[str]:
    """What is wrong with them."""
    with pytest.raises(SpecError) as refused:
        resolve(body, infos)
    return list(refused.value.problems)


def pool(tensors: str, more: str = "") -> str:
    """A spec's body of one pool, ``p``; its first pattern stands at 2:23."""
    return f"pools: {{p: {{tensors: [{tensors}], ratio: 2{more}}}}}\n"


SPLIT = "split: {'*.qkv.weight': [q, k, v]}\n"
