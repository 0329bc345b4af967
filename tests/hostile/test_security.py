"""What ``SECURITY.md`` promises, line by line, where no refused case proves it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.crafting import PLAN, STORED, Stored, plan_with, safetensors, wpool
from tests.hostile.case import COMMANDS, OF_CHECKPOINTS, OF_POOL_FILES, OF_TORCH
from tests.hostile.test_hostile import listing, words
from tests.hostile.warm import Ended, Warm

#: Marks that turn the direction of writing, end lines, or mean something to a
#: terminal's library, a page, a shell, a file system.
EVIL = "\u202ea\u2028[red]b[/red]<script>alert(1)</script>&\"'`$(x)/../c:smile:\u200b"
_MATRIX: Stored = ("weight", "F32", [6, 4], bytes(96))
_MODULE = "open('ran', 'w')\nraise SystemExit('imported')\n"


class Commands:
    """Runs commands where they belong: see :mod:`tests.hostile.warm`."""

    def __init__(self, light: Warm, heavy: Warm, shelf: dict[str, str]) -> None:
        self.light, self.heavy, self.shelf = light, heavy, shelf

    def run(self, folder: Path, name: str, file: str, *more: str) -> Ended:
        """A command of the table, by name, with further arguments."""
        torch_needed = name in OF_TORCH or file.endswith(".pt")
        warm = self.heavy if torch_needed else self.light
        return warm.run(folder, *words(name, file, self.shelf), *more)


@pytest.fixture
def commands(light: Warm, heavy: Warm, shelf: dict[str, str]) -> Commands:
    """All commands."""
    return Commands(light, heavy, shelf)


def naming_code(folder: Path) -> Iterator[str]:
    """Files that name a module beside them wherever a name can stand; yields theirs."""
    (folder / "evil.py").write_text(_MODULE)
    spec = "version: 1\npools: {evil: {tensors: ['*'], ratio: 2}}\n"
    metadata = {
        "wpool.spec": spec + "finetune: {task: evil:task}\n",
        "wpool.info.factory": "evil:make",
        "wpool.source": '{"nbytes":1,"sha256":"' + "0" * 64 + '","wpack":"evil"}',
        "auto_map": "evil:Model",
    }
    plan = plan_with(tensors__0__name="evil:task", tensors__2__alias="evil:task")
    (folder / "x.wpool").write_bytes(wpool(plan, STORED, metadata))
    yield "x.wpool"
    plain = safetensors([("evil:task", "F32", [6, 4], bytes(96))], {"format": "evil"})
    (folder / "x.safetensors").write_bytes(plain)
    yield "x.safetensors"
    (folder / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}}')
    index = {
        "metadata": {"module": "evil"},
        "weight_map": {"evil:task": "x.safetensors"},
    }
    (folder / "x.safetensors.index.json").write_text(json.dumps(index))
    yield "x.safetensors.index.json"
    torch.save({"weight": torch.ones(6, 4), "evil": "evil.Model"}, folder / "x.pt")
    yield "x.pt"


def test_no_file_names_code_to_import(commands: Commands, tmp_path: Path) -> None:
    """Not the spec that a .wpool was made from, nor anything else that it holds."""
    ran = []
    for file in naming_code(tmp_path):
        for name in (*OF_POOL_FILES, "plan", "compress"):
            ended = commands.run(tmp_path, name, file)
            if "imported" in ended.err or (tmp_path / "ran").exists():
                ran.append(f"{name} {file}: {ended.err}")

    assert ran == []


def test_a_task_is_imported_by_who_names_it(commands: Commands, tmp_path: Path) -> None:
    """The same module, named by the user, is: the test above could fail.  A spec is
    the user's own, and yet only training imports its task."""
    (tmp_path / "evil.py").write_text(_MODULE)
    spec = "version: 1\npools: {p: {tensors: ['*'], ratio: 2}}\n"
    (tmp_path / "s.yaml").write_text(spec + "finetune: {task: evil:task}\n")
    for name in ("spec check", "plan with it", "compress with it"):
        assert commands.run(tmp_path, name, "s.yaml").status == 0

    assert not (tmp_path / "ran").exists()

    sound = commands.shelf["sound"]
    ended = commands.heavy.run(
        tmp_path, "finetune", sound, "-s", "s.yaml", "-o", "new.wpool"
    )

    assert ended.status == 2
    assert (tmp_path / "ran").exists()


def evil_names(folder: Path) -> str:
    """A sound .wpool whose names are not; returns its own."""
    pool = {**PLAN["pools"][0], "name": EVIL}
    part = {"pool": EVIL, "start": 14, "length": 24, "numel": 24, "part": EVIL}
    tensor = {"name": EVIL, "dtype": "F32", "shape": [6, 4], "parts": [part]}
    kept = {"name": EVIL + ".bias", "dtype": "F32", "shape": [2], "kept": True}
    plan = plan_with(pools=[pool], tensors=[tensor, kept])
    stored = [(f"pool/{EVIL}", *STORED[0][1:]), (EVIL + ".bias", *STORED[1][1:])]
    metadata = {"wpool.spec": EVIL, f"wpool.info.{EVIL}": EVIL, EVIL: EVIL}
    (folder / "x.wpool").write_bytes(wpool(plan, stored, metadata))
    return "x.wpool"


def test_names_are_escaped_in_a_terminal(commands: Commands, tmp_path: Path) -> None:
    """No command prints a character that a terminal would act upon."""
    file = evil_names(tmp_path)
    commands.run(tmp_path, "inflate", file)
    printed = {
        f"{name} {path}": commands.run(tmp_path, name, path, *more)
        for path, names in ((file, OF_POOL_FILES), ("out.safetensors", OF_CHECKPOINTS))
        for name in names
        for more in (("-f",) if "-o" in COMMANDS[name] else (),)
    }
    acting = {
        what: [c for c in ended.out + ended.err if not (c.isprintable() or c == "\n")]
        for what, ended in printed.items()
    }

    assert {what: found for what, found in acting.items() if found} == {}
    assert r"\u202ea\u2028[red]b[/red]<script>" in printed["stats x.wpool"].out


def test_names_are_escaped_in_a_page(commands: Commands, tmp_path: Path) -> None:
    """No name becomes an element, nothing is fetched and nothing runs."""
    file = evil_names(tmp_path)
    ended = commands.run(tmp_path, "stats", file, "--html", "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    elements = set(re.findall(r"<(\w+)", page))

    assert ended.status == 0
    assert "script" not in elements
    assert html.escape("<script>alert(1)</script>") in page
    assert "default-src 'none'" in page
    assert [c for c in page if not (c.isprintable() or c == "\n")] == []
    assert re.findall(r"\b(?:src|href|on\w+)\s*=", page) == []


def test_names_are_no_paths(commands: Commands, tmp_path: Path) -> None:
    """Whatever tensors are called, the output is the one file that was asked for."""
    inner = tmp_path / "inner"
    inner.mkdir()
    names = ["../../up", "/tmp/abs", "C:\\x", "a/../../b", "~/x", "..", "con"]
    stored: list[Stored] = [(name, "F32", [6, 4], bytes(96)) for name in names]
    (inner / "x.safetensors").write_bytes(safetensors(stored))
    commands.run(inner, "compress", "x.safetensors")
    commands.run(inner, "inflate", "out.wpool", "-o", "back.safetensors")
    commands.run(inner, "inflate to .pt", "out.wpool")

    made = {"out.wpool", "back.safetensors", "out.pt"}
    assert set(listing(tmp_path)) == {
        "inner",
        *(f"inner/{name}" for name in ("x.safetensors", *made)),
    }


@pytest.mark.parametrize("name", OF_POOL_FILES)
def test_working_bytes_are_bounded(
    commands: Commands, tmp_path: Path, name: str
) -> None:
    """By every command that takes a .wpool, at the limit to the byte."""
    (tmp_path / "x.wpool").write_bytes(wpool(PLAN, STORED))
    refused = commands.run(tmp_path, name, "x.wpool", "--max-working-bytes", "35")
    taken = commands.run(tmp_path, name, "x.wpool", "--max-working-bytes", "36")

    what = "its working weights take 36 bytes; the limit is 35"
    assert what in refused.out + refused.err
    assert what not in taken.out + taken.err


def test_laps_are_quick(commands: Commands, tmp_path: Path) -> None:
    """A file of a kilobyte that goes round one weight millions of times costs what its
    working weights cost, in time, and less in memory."""
    numel = 32 << 20
    part = {"pool": "main", "start": 0, "length": numel, "numel": numel}
    tensor = {"name": "w", "dtype": "F32", "shape": [numel], "parts": [part]}
    plan = plan_with(pools__0__backing=1, tensors=[tensor])
    file = wpool(plan, [("pool/main", "F32", [1], bytes(4))])
    (tmp_path / "x.wpool").write_bytes(file)
    ended = commands.run(tmp_path, "inflate", "x.wpool")

    assert ended.status == 0
    assert (tmp_path / "out.safetensors").stat().st_size > 4 * numel
    assert ended.seconds < 5
    assert ended.nbytes < 64 << 20


def test_nothing_is_asked_of_the_network() -> None:
    """No file of wpack imports a module that could."""
    import wpack

    network = r"^\s*(?:import|from) (?:socket|urllib|http|requests|ssl|ftplib)\b"
    sources = Path(wpack.__file__).parent.rglob("*.py")
    found = [p.name for p in sources if re.search(network, p.read_text(), re.MULTILINE)]

    assert found == []
