"""``docs/codecs.md``: what it shows is parsed, run, compared with the listing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.codecs.test_laws import agree
from wpack import codecs, spec
from wpack.chain import Chain
from wpack.codecs import Entropy, Quantiser, Selector
from wpack.tensors import BLOCK, FLOAT32

TEXT = (Path(__file__).parents[1] / "docs" / "codecs.md").read_text(encoding="utf-8")
#: Codec → the cells of its rows, table after table.
ROWS: dict[str, list[list[str]]] = {}
for _name, _rest in re.findall(r"^\| `(\w+)` \|(.*)\|$", TEXT, re.M):
    _cells = re.split(r"(?<!\\)\|", _rest)
    ROWS.setdefault(_name, []).append([cell.strip() for cell in _cells])


def snippets(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.M | re.S)


@pytest.mark.parametrize("name", codecs.names())
def test_every_codec_is_described(name: str) -> None:
    """It has a row in both tables, with its kind and all its fields and defaults."""
    definition, cost = ROWS[name]
    codec = codecs.named(name)()
    kinds = {Selector: "selector", Quantiser: "quantiser", Entropy: "entropy coder"}

    assert [definition[0]] == [
        w for kind, w in kinds.items() if isinstance(codec, kind)
    ]
    for field, value in codec.fields().items():
        assert f"`{field}` {str(value).lower()}" in cost[-1]


@pytest.mark.parametrize("name", codecs.names())
def test_bits_a_weight(name: str) -> None:
    """They are what the plan would say of a million float32 weights."""
    codec = codecs.named(name)()
    if isinstance(codec, Entropy):
        return
    found = 8 * Chain((codec,)).bound(BLOCK, FLOAT32) / BLOCK

    assert float(ROWS[name][1][0]) == pytest.approx(found, abs=0.005)


@pytest.mark.codec("int", "prune", "kmeans", "float16", "zstd")
def test_the_spec_is_one() -> None:
    """It parses and says what the text does."""
    (text,) = snippets("yaml")
    parsed = spec.parse(text, "codecs.md")
    found = {name: pool.codecs for name, pool in parsed.pools.items()}

    assert [
        {"name": "int", "bits": 4, "block": 32},
        {"name": "zstd"},
    ] == Chain(found["blocks"]).to_json()
    assert ("prune", "kmeans", "zstd") == Chain(found["head"]).names
    assert ["conv1.weight"] == [*map(str, parsed.keep_codecs)]


def test_the_example_is_a_codec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of "Adding one", put into the folder, is found and obeys the laws."""
    (source,) = snippets("python")
    (tmp_path / "fixed.py").write_text(source, encoding="utf-8")
    monkeypatch.setattr(codecs, "__path__", [*codecs.__path__, str(tmp_path)])
    monkeypatch.setitem(sys.modules, "wpack.codecs.fixed", None)
    del sys.modules["wpack.codecs.fixed"]  # and again when the test is over
    fixed = codecs.named.__wrapped__("fixed")
    values = np.array([0.5, -1, 0.007, 3, -3, 0], "<f4")
    data = Chain((fixed(),)).encode(values, FLOAT32).data
    made = np.empty(6, "<f4")
    Chain((fixed(),)).decode(lambda a, b: data[a:b], len(data), FLOAT32, made, "p")

    assert "fixed" in codecs.names()
    assert fixed(places=3) == fixed.from_options({"places": 3})
    assert [0.5, -1, 1 / 128, 127 / 128, -1, 0] == made.tolist()
    agree(fixed(), values)
