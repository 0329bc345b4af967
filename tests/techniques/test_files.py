"""Every technique on small files: compress, verify, inflate, load."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import wpack
from tests.techniques.written_out import expanded
from wpack import api, techniques
from wpack.spec import parse

SPEC = """\
version: 1
split: {"qkv.weight": [q, k, v]}
pools:
  main: {technique: TECHNIQUE, tensors: ["*.weight*"], ratio: 2OPTIONS}
keep: [head.weight]
"""
OPTIONS = {
    "outer": [", permute: true"],
    "layered": [", m: 2", ", seed: 7"],
    "hashed": [", seed: 7"],
}
CASES = [
    (name, options)
    for name in techniques.names()
    for options in ("", *OPTIONS.get(name, ()))
]


def checkpoint_at(path: Path) -> dict[str, np.ndarray]:
    """A kernel, a depthwise kernel, a fused matrix, and what is kept."""
    draw = np.random.default_rng(0)
    shapes = {
        "conv.weight": (8, 6, 3, 3),
        "depthwise.weight": (16, 1, 3, 3),
        "qkv.weight": (24, 8),
        "fc.weight": (12, 20),
        "head.weight": (5, 8),
        "fc.bias": (12,),
    }
    tensors = {k: draw.normal(size=v).astype("f4") for k, v in shapes.items()}
    save_file(tensors, path)
    return tensors


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_file_goes_round(name: str, options: str, tmp_path: Path) -> None:
    """A file verifies, and inflates to what the formulas of docs/format.md give for
    its backing weights; what is kept comes back bit for bit."""
    source = checkpoint_at(tmp_path / "m.safetensors")
    spec = parse(SPEC.replace("TECHNIQUE", name).replace("OPTIONS", options))
    packed = tmp_path / "m.wpool"
    api.compress(tmp_path / "m.safetensors", spec, packed)
    api.inflate(packed, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    with safe_open(packed, "numpy") as file:
        plan = json.loads(file.metadata()["wpool.plan"])
    pool = load_file(packed)["pool/main"]

    assert api.verify(packed) == ()
    assert packed.stat().st_size < (tmp_path / "m.safetensors").stat().st_size + 4096
    for tensor in plan["tensors"]:
        if "kept" in tensor:
            assert source[tensor["name"]].tobytes() == back[tensor["name"]].tobytes()
        else:
            made = expanded(plan, tensor, {"main": pool.astype("f8")})
            np.testing.assert_allclose(
                back[tensor["name"]].reshape(-1), made, rtol=1e-5, atol=1e-6
            )


@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_loader_gives_what_inflate_writes(
    name: str, options: str, tmp_path: Path
) -> None:
    """Equal to the last bits of float32, whichever way a weight is computed."""
    checkpoint_at(tmp_path / "m.safetensors")
    spec = parse(SPEC.replace("TECHNIQUE", name).replace("OPTIONS", options))
    api.compress(tmp_path / "m.safetensors", spec, tmp_path / "m.wpool")
    api.inflate(tmp_path / "m.wpool", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    loaded = wpack.load_file(tmp_path / "m.wpool")

    assert sorted(loaded) == sorted(back)
    for key, tensor in loaded.items():
        np.testing.assert_allclose(tensor.numpy(), back[key], rtol=1e-6, atol=1e-7)
