"""Pool specs: YAML from a user, with ``--set`` changes, against a small checkpoint.

An input is a spec's text and, each after ``\\0--set ``, the changes to it.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any
from unittest import mock
from zlib import crc32

import yaml

from fuzz import trees
from fuzz.plans import check_plan, check_weights
from fuzz.target import Target, check_sentences, folder, insist
from wpack import techniques
from wpack.errors import PlanError, SpecError
from wpack.planner import make_plan
from wpack.spec import POOL_DTYPES, Spec, load, nodes, parse
from wpack.tensors import BY_NAME, TensorInfo

_SET = "\0--set "
# libyaml's, where PyYAML has it: they take a tenth of the time.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
#: Longest text that is taken apart: to write YAML is slow.
_MAX_TEXT = 4000
_F32, _F16, _I64 = BY_NAME["float32"], BY_NAME["float16"], BY_NAME["int64"]
#: Longest text with escapes, whose meaning is the parser's own, that PyYAML's slower
#: parser reads as well.
_MAX_SLOW = 1000
#: The checkpoint that specs are held against.
TENSORS = (
    TensorInfo("conv1.weight", _F32, (4, 3, 3, 3)),
    TensorInfo("conv1.bias", _F32, (4,)),
    TensorInfo("blocks.0.qkv.weight", _F32, (24, 8)),
    TensorInfo("blocks.1.qkv.weight", _F32, (24, 8)),
    TensorInfo("blocks.1.fc.weight", _F16, (16, 8)),
    TensorInfo("norm.num_batches_tracked", _I64, ()),
    TensorInfo("none.weight", _F32, (0, 8)),
    TensorInfo("head[0]#a.weight", _F32, (10, 8)),
    TensorInfo("tied.weight", _F32, (24, 8), alias_of="blocks.0.qkv.weight"),
)
WORDS = (
    *techniques.names(),
    *POOL_DTYPES,
    *("version", "split", "pools", "keep", "finetune", "main", "technique", "tensors"),
    *("ratio", "size", "bytes", "dtype", "repair", "rms", "none", "seed", "permute"),
    *("task", "steps", "epochs", "batch_size", "eval_batch_size", "optimizer", "name"),
    *("schedule", "distill", "clip_norm", "label_smoothing", "ema", "precision"),
    *(
        "save_every",
        "metric",
        "adamw",
        "sgd",
        "lr",
        "weight_decay",
        "betas",
        "momentum",
    ),
    *("nesterov", "cosine", "linear", "constant", "warmup", "weight", "temperature"),
    *("teacher", "auto", "digits", "./t.py:task", "os:system"),
    *(
        "*",
        "*.weight",
        "conv1.bias",
        "blocks.*.qkv.weight",
        "*#q",
        "re:.*",
        "re:(",
        "#",
    ),
    *("q", "k", "v", "1_000", "1.5M", "4MiB", "0.5k", "1e-4", ".nan", "-.inf", "~"),
    *("yes", "010", "0x1F", "1:30", "&a", "*a", "<<", "!!str", "---", "%YAML 1.1"),
    *("? ", ": ", "- ", "|\n", ">-\n", "# ", "\t", "\u2028", "\ufeff", "\0--set "),
    *('"\\x1b"', '"\\ud800"', '"\\U00110000"', '"\\L"', '"', "'", *"{}[],"),
)


def read(data: bytes) -> None:
    """Load a spec twice and, where it is one, plan with it."""
    content, *overrides = data.split(_SET.encode())
    path = folder() / "s.yaml"
    path.write_bytes(content)
    changes = [text.decode("utf-8", "surrogateescape") for text in overrides]
    if b"\\" in content and len(content) <= _MAX_SLOW:
        _check_without_libyaml(path, changes)
    try:
        spec = load(path, changes)
    except SpecError as error:
        for problem in error.problems:
            placed = problem.startswith((f"{path}:", "--set ", "… and "))
            insist(placed, f"says {problem!r}, but not where")
        if crc32(data) % 8 == 0:  # It takes as long again.
            again = _refusal(path, changes)
            insist(again == error.problems, "is refused in other words")
        raise
    insist(load(path, changes) == spec, "is another spec the second time")
    insist(parse(spec.text) == spec, "is another spec when it is written")
    canonical = parse(spec.text, overrides=["version=1"]).text
    insist(parse(canonical) == spec, "is another spec when it is written anew")
    if "re:" not in spec.text:  # Each starts a process, which takes too long.
        _plan(spec)


def _refusal(path: Path, changes: list[str]) -> tuple[str, ...]:
    try:
        load(path, changes)
    except SpecError as error:
        return error.problems
    return ()


def _check_without_libyaml(path: Path, changes: list[str]) -> None:
    """Where PyYAML has no libyaml, a spec is accepted or refused in words as well."""
    with mock.patch.object(nodes, "_LOADER", yaml.SafeLoader):
        try:
            load(path, changes)
        except SpecError as error:
            check_sentences(error)


def _plan(spec: Spec) -> None:
    """What comes of it is a plan, or refused in words."""
    try:
        planned = make_plan(spec, TENSORS)
    except (SpecError, PlanError) as error:
        check_sentences(error)
        return
    check_plan(planned.plan)
    check_weights(planned.plan)


def mutate(data: bytes, other: bytes, random: Random) -> bytes:
    """Change what a spec says, a line of it, a word of it, or what is set."""
    whole, donor = data.decode("utf-8", "replace"), other.decode("utf-8", "replace")
    text, *overrides = whole.split(_SET)
    choice = random.random()
    tree = _tree(text) if choice < 0.5 else None
    if tree is not None:
        tree = trees.changed(tree, _tree(donor.partition(_SET)[0]), random, WORDS)
        text = _written(tree, random) or text
    elif choice < 0.65:
        text = _moved(text, random)
    elif choice < 0.85:
        text = trees.respelled(text, random, WORDS)
    elif choice < 0.9:
        overrides = overrides[1:]
    else:
        overrides.append(_override(tree or _tree(text), random))
    return _SET.join([text, *overrides]).encode("utf-8", "replace")


def _tree(text: str) -> Any:
    """A text's values, as a reader has them that lets everything pass."""
    if len(text) > _MAX_TEXT or "&" in text:
        return None
    try:
        return yaml.load(text, _LOADER)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError):
        return None


def _written(tree: Any, random: Random) -> str:
    flow = random.choice((None, None, True, False))
    try:
        return str(yaml.dump(tree, None, _DUMPER, default_flow_style=flow))
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return ""


def _moved(text: str, random: Random) -> str:
    """Doubles a line, drops one, puts it elsewhere, or moves it to the right."""
    lines = text.split("\n")
    at, to = random.randrange(len(lines)), random.randrange(len(lines))
    line = lines[at]
    if random.random() < 0.6:
        del lines[at]
    if random.random() < 0.8:
        indent = random.choice(("", "", " ", "  ", "- "))
        lines.insert(to, indent + line.removeprefix(random.choice(("", "  "))))
    return "\n".join(lines)


def _override(tree: Any, random: Random) -> str:
    """A change to some value that there is, or to one that there is not."""
    node, keys = tree, []
    while isinstance(node, dict | list) and node and random.random() < 0.9:
        key = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
        keys.append(str(key))
        node = node[key]
    if not keys or random.random() < 0.2:
        keys.append(random.choice(WORDS))
    path = ".".join(f'"{key}"' if "." in key else key for key in keys)
    return f"{path}={random.choice((*WORDS, '1', '0.5', '[]', '{}', '[x]'))}"


TARGET = Target(
    name="spec",
    aims=(
        *("wpack.spec.reading", "wpack.spec.nodes", "wpack.spec.scalars"),
        *("wpack.spec.model", "wpack.spec.mistakes", "wpack.spec.problems"),
        *("wpack.spec.overrides", "wpack.spec.pools", "wpack.spec.quantities"),
        *("wpack.spec.recipe", "wpack.spec.claiming", "wpack.planner"),
    ),
    refusals=(SpecError,),
    read=read,
    mutate=mutate,
    words=WORDS,
)
