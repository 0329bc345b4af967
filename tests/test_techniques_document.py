"""``docs/techniques.md``: what it shows is parsed, run, compared with the listing."""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decompression import VARIANTS
from benchmarks.techniques import BEGIN, DOCUMENT, END
from wpack import spec, techniques
from wpack.table import Block

TEXT = DOCUMENT.read_text(encoding="utf-8")
#: The part of the document under each second-level heading.
PARTS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S))


def snippets(language: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize("name", techniques.names())
def test_every_technique_is_described(name: str) -> None:
    """Each has a heading, a paragraph, and a spec that parses and uses it."""
    (text,) = snippets("yaml", PARTS[f"`{name}`"])
    parsed = spec.parse(text, "techniques.md")

    assert [name] == [pool.technique for pool in parsed.pools.values()]


def test_every_technique_is_in_the_overview() -> None:
    """The first table has a row for each technique, linked to its heading."""
    found = re.findall(r"^\| \[`(\w+)`\]\(#(\w+)\)", TEXT, re.M)

    assert {(name, name) for name in techniques.names()} <= set(found)


def test_every_technique_was_measured() -> None:
    """Each of the three measured tables has a row for every variant of every technique,
    so a new technique has to be measured: python -m benchmarks.techniques --write."""
    measured = TEXT.partition(BEGIN)[2].partition(END)[0]
    rows = re.findall(r"^\| `(.+?)` \|", measured, re.M)

    assert {name: 3 for name in VARIANTS}.items() <= Counter(rows).items()
    assert set(techniques.names()) == {name.partition(",")[0] for name in VARIANTS}


def test_fields_of_the_specs_are_all_fields() -> None:
    """The specs show every option that a technique has, save ``start`` of global."""
    for name in techniques.names():
        text = PARTS[f"`{name}`"]
        missing = [
            field
            for field in techniques.named(name)().fields()
            if field not in text and (name, field) != ("global", "start")
        ]

        assert [] == missing, name


def test_the_example_is_a_technique(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of "Adding one", put into the folder, is found and does what it says."""
    (source,) = snippets("python", PARTS["Adding one"])
    (tmp_path / "tiled.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(techniques, "__path__", [*techniques.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "wpack.techniques.tiled", None)
    del sys.modules["wpack.techniques.tiled"]  # and again when the test is over
    tiled = techniques.named.__wrapped__("tiled")()
    table = tiled.layout([Block("w", (2, 3), 0, 6, "")], 3)
    made = tiled.expand(np, table, table.slices[0], np.array([1.0, 2.0, 3.0]))
    projection = tiled.project(table, np.dtype("<f8"))
    projection.add(table.slices[0], 0, np.array([1.0, 2.0, 3.0, 5.0, 6.0, 7.0]))

    assert "tiled" in techniques.names()
    assert ("tiled", 3) == (tiled.name, table.backing)
    assert [1.0, 2.0, 3.0, 1.0, 2.0, 3.0] == made.tolist()
    assert [3.0, 4.0, 5.0] == projection.finish().tolist()
