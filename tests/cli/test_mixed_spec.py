"""One model, every technique in a pool of its own: each command as a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import wpack
from wpack import techniques

ROOT = Path(wpack.__file__).parents[1]
VIEWED = [n for n in techniques.names() if techniques.named(n).zero_copy]
COMPUTED = [n for n in techniques.names() if n not in VIEWED]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, two kernels a technique, and its spec.  A tensor is
    also cut in two, for the first technique of either kind."""
    folder = tmp_path_factory.mktemp("mixed")
    draw = np.random.default_rng(0)
    tensors = {"head.bias": draw.normal(size=5).astype("f4")}
    lines = ["version: 1", "split: {qk.weight: [q, k]}", "pools:"]
    for name in techniques.names():
        tensors[f"{name}.conv.weight"] = draw.normal(size=(8, 6, 3, 3)).astype("f4")
        tensors[f"{name}.fc.weight"] = draw.normal(size=(24, 18)).astype("f4")
        part = {VIEWED[0]: ", qk.weight#q", COMPUTED[0]: ", qk.weight#k"}.get(name, "")
        lines.append(
            f'  {name}: {{technique: {name}, tensors: ["{name}.*"{part}], ratio: 2}}'
        )
    tensors["qk.weight"] = draw.normal(size=(16, 18)).astype("f4")
    save_file(tensors, folder / "m.safetensors")
    (folder / "s.yaml").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def printed(folder: Path) -> dict[str, Any]:
    """What the commands print, in the order of their use: JSON where they have any."""
    return {
        line.partition(" ")[0]: _run(folder, *line.split())
        for line in (
            "plan m.safetensors -s s.yaml --json",
            "compress m.safetensors -s s.yaml -o m.wpool --json",
            "stats m.wpool --load --json",
            "inflate m.wpool -o back.safetensors --json",
            "verify m.wpool --json",
            "diff m.wpool back.safetensors --json",
        )
    }


def _run(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "wpack", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")

    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_files_are_sound(printed: dict[str, Any]) -> None:
    """What was written verifies, and what was inflated does not differ."""
    assert printed["verify"]["files"][0]["problems"] == []
    assert printed["diff"]["same"]


def test_the_plan_says_what_the_file_is(printed: dict[str, Any], folder: Path) -> None:
    """Sizes, counts and views are known before a weight is read."""
    planned = printed["plan"]["stats"]
    (stats,) = printed["stats"]["files"]
    for key in planned.keys() - {"path", "load"}:
        assert planned[key] == stats[key], key

    assert stats["file_bytes"] == (folder / "m.wpool").stat().st_size


def test_each_pool_says_what_it_takes(printed: dict[str, Any]) -> None:
    """Only the techniques that compute take multiplications or random accesses."""
    pools = {pool["name"]: pool for pool in printed["stats"]["files"][0]["pools"]}

    assert set(pools) == set(techniques.names())
    for name, pool in pools.items():
        taken = pool["multiplications"] + pool["random_accesses"]

        assert pool["zero_copy"] == (taken == 0) == (name in VIEWED)


def test_loading_views_what_it_can(printed: dict[str, Any]) -> None:
    """Kept tensors and those of zero-copy pools, though a slice of so small a pool may
    need its head appended; the rest is computed, and every byte is told."""
    (stats,) = printed["stats"]["files"]
    computed = {f"{name}.{kind}.weight" for name in COMPUTED for kind in ("conv", "fc")}
    copied = {t["name"]: t["why_copied"] for t in stats["tensors"] if t["why_copied"]}
    wrapped = {name for name, why in copied.items() if why.startswith("wraps, and ")}
    load = stats["load"]

    assert copied.keys() - wrapped == computed | {"qk.weight"}
    assert load["wrapped"] == len(wrapped)
    assert load["computed"] == len(computed) + 1
    assert load["views"] + len(copied) == len(stats["tensors"])
    assert load["views_bytes"] == stats["zero_copy_bytes"]
    assert stats["inflated_bytes"] == sum(
        load[f"{kind}_bytes"] for kind in ("views", "wrapped", "computed")
    )
    assert 0 < load["computed_seconds"] < load["seconds"]


def test_loaded_bits_are_those_inflated(printed: dict[str, Any], folder: Path) -> None:
    """Viewed or computed, every weight is the same; views of a pool share its memory,
    what is computed shares none."""
    assert printed["inflate"]["output"] == "back.safetensors"

    inflated = load_file(folder / "back.safetensors")
    loaded = wpack.load_file(folder / "m.wpool")
    shared = {
        name: loaded[f"{name}.conv.weight"].untyped_storage().data_ptr()
        == loaded[f"{name}.fc.weight"].untyped_storage().data_ptr()
        for name in techniques.names()
    }

    assert list(loaded) == list(load_file(folder / "m.safetensors"))
    for name, tensor in loaded.items():
        assert tensor.numpy().tobytes() == inflated[name].tobytes(), name
    assert shared == {name: name in VIEWED for name in techniques.names()}
