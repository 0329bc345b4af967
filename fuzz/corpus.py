"""The inputs that fuzzing starts from, in ``fuzz/corpus/<target>/``.

``python -m fuzz.corpus`` writes them anew: sound files of every kind, and the hostile
ones of ``tests/`` that are small.  A name says where an input comes from.
"""

from __future__ import annotations

import io
import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np

from fuzz import NAMES
from fuzz.container import plan_in
from fuzz.index import KINDS, NAME, SHARDS
from fuzz.spec import TENSORS
from tests import bad_headers, bad_plans, crafting, mutants, random_files
from tests.golden import v1
from tests.handmade import write_stored
from tests.hostile import (
    bombs,
    chains,
    coded,
    headers,
    inputs,
    payloads,
    pickles,
    plans,
    shards,
    specs,
)
from tests.hostile import techniques as hostile_techniques
from wpack import container, techniques
from wpack.planner import make_plan
from wpack.spec import parse, starter

FOLDER = Path(__file__).with_name("corpus")
ROOT = Path(__file__).parents[1]
#: Largest hostile file that becomes a seed.
_MAX_BYTES = 3000
_PLANS = 8
#: Tensors of a spec, and the dtype that they are pooled in.
_ALL = "'*'], dtype: float32"

#: Name and content of an input.
Seeds = Iterator[tuple[str, bytes]]


def files_of(name: str) -> list[Path]:
    """The inputs of a target that lie in the repository."""
    return sorted((FOLDER / name).iterdir())


def write(name: str) -> list[Path]:
    """Make a target's inputs anew."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    contents: set[bytes] = set()
    for title, content in SEEDS[name]():
        if content not in contents:
            contents.add(content)
            (folder / title.replace(" ", "_").replace("/", "_")).write_bytes(content)
    return files_of(name)


def _containers() -> Seeds:
    yield "golden", v1.PATH.read_bytes()
    yield "crafted", crafting.wpool(crafting.PLAN, crafting.STORED)
    yield "unsigned", bad_plans.with_metadata({"wpool.sha256": None})
    yield "safetensors", mutants.SOUND
    for name in techniques.names():
        yield f"technique {name}", _pool_file(name)
    for seed in range(_PLANS):
        plan = random_files.random_plan(Random(seed))
        if plan.alignment == 64:
            yield f"random {seed}", _written(plan, Random(seed))
    for kind, rows in (("header", bad_headers), ("plan", bad_plans)):
        for name, (content, _) in rows.REFUSED.items():
            if len(content) <= _MAX_BYTES:
                yield f"{kind} {name}", content
    yield from _hostile(headers, inputs, plans, hostile_techniques, chains, coded)


def _pool_file(technique: str) -> bytes:
    """A file whose one pool has this technique."""
    text = f"version: 1\npools: {{main: {{technique: {technique}, tensors: ['*']"
    plan = make_plan(parse(f"{text}, dtype: float32, ratio: 1.5}}}}\n"), TENSORS).plan
    return _written(plan, Random(0))


def _written(plan: Any, random: Random) -> bytes:
    stored = container.arrange(plan).stored
    values = {e.name: np.ones(e.numel, e.dtype.raw) for e in stored}
    if len(plan.tensors) < len(TENSORS):
        values = random_files.random_values(random, plan)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.wpool"
        write_stored(path, plan, values)
        return path.read_bytes()


def _plans() -> Seeds:
    for name, content in _containers():
        text = _plan_text(content)
        if text and len(text) <= _MAX_BYTES:
            yield name, text.encode("utf-8", "replace")


def _plan_text(content: bytes) -> str:
    """The plan in a file that may break every rule, or ""."""
    length = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + length])
        return plan_in(header["__metadata__"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


def _indexes() -> Seeds:
    sound = {"w": "a.safetensors", "v": "a.safetensors", "x": "b.safetensors"}
    sound["flags"] = "b.safetensors"
    yield "sound", _folder(sound)
    yield "folder", _folder(sound, opened="")
    kinds = {f"{kind}.safetensors": kind for kind in ("a", "b", "c", "d", "e")}
    five = {**sound, "y": "c.safetensors", "z": "d.safetensors", "é": "e.safetensors"}
    yield "five", _folder(five, kinds)
    yield "bare", json.dumps({"weight_map": sound}).encode()
    yield (
        "in a hub",
        _folder({"w": "l", "v": "l"}, {"l": "link:../../blobs/sound"}, opened=""),
    )
    links = {"out": "../../../secret", "in": "a.safetensors", "loop": "l", "none": "x"}
    for name, target in links.items():
        files = {**SHARDS, "l": f"link:{target}"}
        yield f"link {name}", _folder({"w": "l", "v": "l"}, files)
    for kind in (*KINDS, "folder", "pipe"):
        files = {"c.safetensors": kind}
        yield f"shard {kind}", _folder({"w": "c.safetensors"}, files)
        yield f"alone {kind}", _folder({}, {**files, "x.pt": kind}, opened="")
        yield f"single {kind}", _folder({}, {"x.pt": kind}, opened="x.pt")
    yield "twice", _folder({**sound, "w": "c"}, {**SHARDS, "c": "w again"})
    yield "lacking", _folder({"w": "a.safetensors"})
    yield "beyond", _folder({**sound, "y": "b.safetensors"})
    yield "more", _folder(sound, {**SHARDS, "c.safetensors": "tied"})
    yield "pickles", _folder(sound, {**SHARDS, "pytorch_model.bin": "a"}, opened="")
    yield "size", _folder(sound, size=1)
    for title, content in _hostile(shards):
        yield title, json.dumps({"index": content.decode("latin-1")}).encode()


def _folder(
    files: dict[str, str],
    kinds: dict[str, str] = SHARDS,
    opened: str = NAME,
    size: int = 58,
) -> bytes:
    index = {"metadata": {"total_size": size}, "weight_map": files}
    tree: dict[str, Any] = {"index": index, "files": kinds}
    if opened != NAME or kinds is not SHARDS:
        tree["open"] = opened
    return json.dumps(tree).encode()


def _specs() -> Seeds:
    for path in sorted((ROOT / "samples").rglob("*.yaml")):
        yield f"sample {path.parent.name} {path.stem}", path.read_bytes()
    yield "starter", starter(TENSORS, "x.safetensors").encode()
    for name in techniques.names():
        text = specs.BEGIN.replace("ratio", f"technique: {name}, ratio")
        yield f"technique {name}", text.replace("weight]", _ALL).encode()
    sound = specs.BEGIN.replace("weight]", _ALL)
    parts = "split: {'*qkv*': [q, k, v], 'head*': {a: 4, b: 6}}\n"
    parted = sound.replace("'*'", "'*q*#q', '*q*#k', '*q*#v', conv1.bias")
    yield "parts", (parted + parts + "keep: ['head*']\n").encode()
    recipe = "{task: digits, steps: 1_000, optimizer: {name: sgd, lr: 1e-2}}"
    yield "recipe", f"{sound}finetune: {recipe}\n".encode()
    for override in ("pools.main.ratio=3", 'split."a.b"=[q, k]', "keep.0=*", "x", ""):
        text = f"{sound}keep: [x]\n\0--set {override}\0--set finetune.ema=0.9"
        yield f"set {override[:4]}", text.encode()
    yield from _hostile(specs)


def _torch_files() -> Seeds:
    import torch

    weight = torch.arange(24.0).reshape(6, 4)
    dtypes = (torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.complex64)
    trees: dict[str, Any] = {
        "plain": {"weight": weight, "bias": weight[0].clone()},
        "tied": {"a": weight, "b": weight, "c": weight.T, "d": weight[1:, 1:]},
        "dtypes": {str(d): torch.ones(2).to(d) for d in dtypes},
        "wrapped": {"state_dict": {"module.w": weight}, "epoch": 3, "args": [1, "a"]},
        "parameter": {"w": torch.nn.Parameter(weight), "none": torch.empty(0, 3)},
        "two models": {"model": {"w": weight}, "model_ema": {"w": weight}},
        "deep model": {"model.x": {"y.z": {"w": weight}}, "model": {"w": weight}},
        "conjugate": {"w": torch.ones(2, dtype=torch.complex64).conj()},
        "expanded": {"w": weight[:1, :1].expand(2, 3), "one": weight[:1, 1]},
        "float8": {"w": torch.ones(2).to(torch.float8_e4m3fn)},
        "linear": torch.nn.Linear(2, 3).state_dict() | {"weight": weight},
        "quantised": {"w": torch.quantize_per_tensor(weight, 1.0, 0, torch.qint8)},
    }
    trees["linear"]["bias"] = torch.zeros(3)
    for name, tree in trees.items():
        yield name, pickles.saved(tree)
    for name in ("plain", "tied", "wrapped"):
        old = pickles.saved(trees[name], _use_new_zipfile_serialization=False)
        yield f"legacy {name}", old
    yield "twice", _listed_twice(pickles.saved(trees["plain"]))
    yield from _hostile(pickles, payloads, bombs)


def _listed_twice(content: bytes) -> bytes:
    import zipfile

    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.filelist += archive.filelist[-1:]
        archive._didModify = True  # type: ignore[attr-defined]
    return buffer.getvalue()


def _hostile(*modules: ModuleType) -> Seeds:
    """The small files of hostile cases."""
    for module in modules:
        for name, make in vars(module).items():
            if name[1:3].isdigit() and name[3] == "_" and make is not None:
                content = _small(make)
                if content is not None:
                    yield name, content


def _small(make: Callable[[Path], Any]) -> bytes | None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / str(make(Path(folder)).file)
        try:
            found = path.lstat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MAX_BYTES:
            return None
        return path.read_bytes()


SEEDS: dict[str, Callable[[], Seeds]] = {
    "container": _containers,
    "slice_table": _plans,
    "index": _indexes,
    "spec": _specs,
    "torch_listing": _torch_files,
}


def main() -> None:
    """Write the corpora of all targets."""
    for name in NAMES:
        files = write(name)
        nbytes = sum(path.stat().st_size for path in files)
        print(f"{name:14} {len(files):4} inputs, {nbytes:7,} bytes")


if __name__ == "__main__":
    main()
