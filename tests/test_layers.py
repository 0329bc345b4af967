"""The house's layers: imports go down, never up and never around in a circle.

The rules are read off each file's syntax tree, so a wrong import is found even where no
test runs it.  What is imported by a computed name (the files of techniques, tasks and
commands) is not seen, and does not have to be: it is how a folder becomes a registry.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import wpack

PACKAGE = Path(wpack.__file__).parent

#: The rows from the ground up.  A file or folder of ``wpack/`` may import what stands
#: in its own row or an earlier one; ``wpack`` is the package's own ``__init__``.
ROWS: tuple[tuple[str, str], ...] = (
    ("L0", "errors tensors table stopping strict_json options"),
    ("L1", "untrusted source least_squares permutation"),
    ("L1", "techniques codecs"),
    ("L1", "blob decoding chain"),
    ("L1", "spec"),
    ("L1", "chain_reader plan plan_text plan_reader planner"),
    (
        "L2",
        "inputs names allocator backends residence address_space header temporaries"
        " durable arrangement checksums conformance stages preamble container"
        " checkpoint ring pool initial packing limits weight_file costs diff stats"
        " agreement journal schedule events",
    ),
    (
        "L3",
        "sampling data references windows architectures"
        " cropping augmentation mixing images image_files"
        " processes meter reads residuals weights binding slots tie gradual text"
        " transformers_folder vocabulary corpus tasks devices"
        " optimizers averaging states runs followed batches scores evaluate latent"
        " coded distill untouched halving overflow hints known_logits teaching speed"
        " training keeping finetune pool_file loader loading student scratch fisher"
        " starting importance moments feed calibration calibrated tuning",
    ),
    ("L4", "compression api export"),
    ("L5", "wpack"),
    ("L5", "report cli"),
    ("L5", "__main__"),
)
RANK = {name: at for at, (_, row) in enumerate(ROWS) for name in row.split()}

#: Takes seconds to import; ``accelerate`` and torchvision bring it along.
TORCH = {"torch", "accelerate", "torchvision"}
#: May import torch inside a function, where the work at hand needs it.
TORCH_INSIDE = {"checkpoint", "api", "export"}
TERMINAL = {"click", "rich"}


@dataclass(frozen=True)
class Import:
    """One name that a file imports.

    Attributes:
        module: The importing module, ``wpack.spec.model``.
        target: What it imports: a module where that is one, else the module it is in.
        at_top: Whether importing ``module`` runs it.
    """

    module: str
    line: int
    target: str
    at_top: bool

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.target}"


def unit(module: str) -> str:
    """The file or folder of ``wpack/`` that a module belongs to."""
    return module.partition(".")[2].partition(".")[0] or "wpack"


def rank(module: str) -> int:
    """A module's row; the ground for one that stands in none."""
    return RANK.get(unit(module), 0)


def layer(module: str) -> str:
    """A module's layer."""
    return ROWS[rank(module)][0]


def imports(sources: Mapping[str, str]) -> list[Import]:
    """All imports of a package's modules.

    Args:
        sources: Module → its text; a package is its ``__init__`` and ends in a dot.
    """
    modules = {name.rstrip(".") for name in sources}
    return [
        Import(name.rstrip("."), line, _module(target, modules), at_top)
        for name, text in sources.items()
        for line, target, at_top in _statements(name, ast.parse(text))
    ]


def _statements(name: str, tree: ast.Module) -> Iterator[tuple[int, str, bool]]:
    """Line, full name and whether it runs on import, for each imported name."""
    top = set(_walk_top(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            targets = [f"{_base(name, node)}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            yield node.lineno, target, node in top


def _walk_top(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a module is imported: not the bodies of functions, nor what only
    type checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _walk_top(child)


def _base(name: str, node: ast.ImportFrom) -> str:
    """The module that ``from … import`` names, relative dots resolved."""
    if not node.level:
        return str(node.module)
    # A package's own name ends in a dot, so one level leads to itself.
    package = name.split(".")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _module(target: str, modules: set[str]) -> str:
    """The module that an imported name is, or is in; others as they are."""
    if target.partition(".")[0] != "wpack":
        return target
    while target not in modules:
        target = target.rpartition(".")[0]
    return target


def unplaced(sources: Mapping[str, str]) -> list[str]:
    """Files and folders that stand in no row."""
    return sorted({unit(name.rstrip(".")) for name in sources} - RANK.keys())


def upward(found: list[Import]) -> list[str]:
    """Imports of a later row."""
    return [
        f"{i} ({layer(i.module)} → {layer(i.target)})"
        for i in found
        if _root(i) == "wpack" and rank(i.target) > rank(i.module)
    ]


def circle(found: list[Import]) -> list[str]:
    """Modules that import one another in a circle, or an empty list."""
    graph: dict[str, set[str]] = {}
    for i in found:
        if _root(i) == "wpack":
            graph.setdefault(i.module, set()).add(i.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def misplaced(found: list[Import]) -> list[str]:
    """Imports of torch outside L3, and of click and rich outside L5."""
    return [
        str(i)
        for i in found
        if (_root(i) in TORCH and not _may_import_torch(i))
        or (_root(i) in TERMINAL and layer(i.module) != "L5")
    ]


def _root(found: Import) -> str:
    """The distribution that a target is of; safetensors' torch half counts as torch."""
    if found.target.startswith("safetensors.torch"):
        return "torch"
    return found.target.partition(".")[0]


def _may_import_torch(found: Import) -> bool:
    inside = unit(found.module) in TORCH_INSIDE and not found.at_top
    return inside or layer(found.module) == "L3"


@cache
def house() -> dict[str, str]:
    """The modules of wpack itself, as :func:`imports` takes them."""
    sources = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        sources[name.removesuffix("__init__")] = path.read_text(encoding="utf-8")
    return sources


def test_every_module_is_placed() -> None:
    """A new file or folder is given its layer in the table above."""
    found = unplaced(house())

    assert [] == found, "place these in ROWS of tests/test_layers.py"


def test_imports_go_down() -> None:
    """No module imports from a layer above its own."""
    assert [] == upward(imports(house()))


def test_no_circle() -> None:
    """No modules import one another in a circle, inside a layer either."""
    assert [] == circle(imports(house()))


def test_torch_and_terminal_stay_in_their_layers() -> None:
    """torch is imported by L3 alone (inside functions by three others), click and rich
    by L5 alone."""
    assert [] == misplaced(imports(house()))


WRONG = {
    "up": (
        {"wpack.table": "from .plan import Plan", "wpack.plan": ""},
        ["wpack.table:1 imports wpack.plan (L0 → L1)"],
    ),
    "up, inside a function": (
        {"wpack.header": "def f():\n    from . import api", "wpack.api": ""},
        ["wpack.header:2 imports wpack.api (L2 → L4)"],
    ),
    "up, inside L1": (
        {"wpack.spec.": "", "wpack.spec.model": "import wpack.plan", "wpack.plan": ""},
        ["wpack.spec.model:1 imports wpack.plan (L1 → L1)"],
    ),
    "up, to the package itself": (
        {"wpack.": "", "wpack.container": "from . import __version__"},
        ["wpack.container:1 imports wpack (L2 → L5)"],
    ),
    "down": (
        {"wpack.spec.": "from ..techniques import x", "wpack.techniques.": ""},
        [],
    ),
    "beside": ({"wpack.container": "from .header import read", "wpack.header": ""}, []),
}


@pytest.mark.parametrize(("sources", "expected"), WRONG.values(), ids=WRONG)
def test_upward_is_found(sources: dict[str, str], expected: list[str]) -> None:
    """The check sees every way of writing an import, and only those that go up."""
    assert expected == upward(imports(sources))


def test_circle_is_found() -> None:
    """Two modules of one layer that import each other are named."""
    sources = {
        "wpack.spec.": "",
        "wpack.spec.model": "from . import nodes",
        "wpack.spec.nodes": "def f():\n    from .model import Spec",
    }

    assert {"wpack.spec.model", "wpack.spec.nodes"} == set(circle(imports(sources)))


def test_unplaced_is_found() -> None:
    """A file that nobody placed is named, by its folder where it is in one."""
    sources = {"wpack.": "", "wpack.plan": "", "wpack.new.": "", "wpack.new.part": ""}

    assert ["new"] == unplaced(sources)


TORCH_CASES = {
    "wpack.tie": ("import torch", True),
    "wpack.header": ("def f():\n    import torch", False),
    "wpack.checkpoint.written": ("def f():\n    from torch import Tensor", True),
    "wpack.checkpoint.index": ("from torch import Tensor", False),
    "wpack.api": ("class A:\n    import safetensors.torch", False),
    "wpack.export.views": ("if TYPE_CHECKING:\n    from torch import Tensor", True),
    "wpack.plan": ("from rich.text import Text", False),
    "wpack.report.plan": ("from rich.text import Text", True),
    "wpack.container": ("from safetensors import safe_open", True),
}


@pytest.mark.parametrize("module", TORCH_CASES)
def test_misplaced_is_found(module: str) -> None:
    """The check tells a layer that may import torch or rich from one that may not."""
    source, allowed = TORCH_CASES[module]

    assert allowed == (misplaced(imports({module: source})) == [])
