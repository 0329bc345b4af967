"""Spec files: encodings, names, sizes, and what cannot be read."""

from __future__ import annotations

import io
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.spec.spec_texts import LEAST
from wpack.errors import SpecError, StorageError
from wpack.spec import load, parse, spec_from_ratio
from wpack.spec.nodes import MAX_BYTES


def refusal(path: Path) -> str:
    """What loading says, without the folder's name."""
    with pytest.raises(SpecError) as refused:
        load(path)
    return str(refused.value).replace(str(path.parent) + os.sep, "")


@pytest.mark.parametrize(
    "name", ["s.yaml", "with space.yaml", "ünï.yaml", "-s.yaml", "line\nbreak.yaml"]
)
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    """Whatever the file system takes."""
    (tmp_path / name).write_text(LEAST)

    assert parse(LEAST) == load(tmp_path / name)


def test_a_name_cannot_break_a_message(tmp_path: Path) -> None:
    """Control characters in it are escaped."""
    path = tmp_path / "a\n\x1b[31m.yaml"
    path.write_text("[")

    with pytest.raises(SpecError) as refused:
        load(path)

    (problem,) = refused.value.problems
    assert problem.startswith(f"{str(path)!r}:")
    assert problem.isprintable()


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbf" + LEAST.encode(),
        LEAST.replace("\n", "\r\n").encode(),
        LEAST.replace("\n", "\r").encode(),
        LEAST.rstrip("\n").encode(),
    ],
    ids=["bom", "crlf", "cr", "no-last-newline"],
)
def test_what_editors_do_to_text_is_harmless(tmp_path: Path, data: bytes) -> None:
    """A byte order mark and any line end."""
    (tmp_path / "s").write_bytes(data)

    assert parse(LEAST) == load(tmp_path / "s")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "é: 1\ncafé: 2".encode("latin-1"),
            "s:1:1: byte 0xE9 is not UTF-8; save the file as UTF-8",
        ),
        (
            b"\xef\xbb\xbfa: 1\r\nb: \xc3\xa9\xe9",
            "s:2:5: byte 0xE9 is not UTF-8; save the file as UTF-8",
        ),
        (LEAST.encode("utf-16"), "s:1:1: UTF-16 text; save the file as UTF-8"),
        (
            LEAST.encode("utf-16-le"),
            "s:1:2: a NUL character; a spec is printable text",
        ),
        (b"", "s:1:1: is empty"),
        (
            b"#" * (MAX_BYTES + 1),
            "s:1:1: longer than 1048576 bytes, which no spec needs",
        ),
        (
            b"#" * MAX_BYTES + "é".encode(),
            "s:1:1: longer than 1048576 bytes, which no spec needs",
        ),
    ],
    ids=["latin-1", "later", "utf-16", "utf-16-le", "empty", "long", "cut-character"],
)
def test_files_that_are_no_text(tmp_path: Path, data: bytes, expected: str) -> None:
    """Told with line and column, and with what to do."""
    (tmp_path / "s").write_bytes(data)

    assert expected == refusal(tmp_path / "s")


def test_the_longest_spec_is_read(tmp_path: Path) -> None:
    """To the byte."""
    filler = "#" * (MAX_BYTES - len(LEAST) - 1) + "\n"
    (tmp_path / "s").write_text(filler + LEAST)

    assert parse(LEAST) == load(tmp_path / "s")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("missing", "No such file or directory"),
        ("folder", "Is a directory"),
        ("n" * 300, "File name too long"),
        ("nul\0", "embedded null byte"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, expected: str) -> None:
    """The system's reason, no traceback."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError) as refused:
        load(tmp_path / name)

    assert f"cannot read the spec: {expected}" == refused.value.what
    assert "\0" not in str(refused.value)


def test_a_dash_is_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """And messages call it so."""
    monkeypatch.setattr(
        sys, "stdin", SimpleNamespace(buffer=io.BytesIO(LEAST.encode()))
    )
    assert parse(LEAST) == load("-")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    with pytest.raises(SpecError, match=r"^<stdin>:1:1: is empty$"):
        load("-")


def test_overrides_apply_to_files(tmp_path: Path) -> None:
    """As they do to texts."""
    (tmp_path / "s").write_text(LEAST)

    assert 3 == load(tmp_path / "s", ["pools.main.ratio=3"]).pools["main"].ratio


def test_paths_in_a_spec_start_where_it_is(tmp_path: Path) -> None:
    """A task's file or a teacher is named as seen from the spec's file."""
    (tmp_path / "s").write_text(LEAST)
    spec = load(tmp_path / "s", ["keep=[]"])

    assert (tmp_path, tmp_path / "a/t.pt") == (spec.folder, spec.beside("a/t.pt"))
    assert Path("/t.pt") == spec.beside("/t.pt")
    assert (Path("."), Path("t.pt")) == (
        parse(LEAST).folder,
        parse(LEAST).beside("t.pt"),
    )


def test_a_text_keeps_its_comments() -> None:
    """What is recorded in a pool file is what its author wrote."""
    text = "# why\n" + LEAST

    assert text == parse(text).text
    assert text == parse("\ufeff" + text).text


def test_the_spec_of_a_ratio() -> None:
    """``--ratio 2.5``: one pool over all that can be pooled."""
    spec = spec_from_ratio(2.5)

    assert (
        "version: 1\npools:\n  main:\n    tensors:\n    - '*'\n    ratio: 2.5\n"
    ) == spec.text
    assert spec == parse(spec.text)
    assert spec_from_ratio(2) == parse(LEAST)


@pytest.mark.parametrize(
    ("ratio", "technique", "expected"),
    [
        (0.5, "global", "--ratio: pools.main.ratio: should be 1 or more, not 0.5"),
        (
            math.nan,
            "global",
            "--ratio: pools.main.ratio: should be a finite number, not nan",
        ),
        (
            2,
            "globl",
            "--ratio: pools.main.technique: unknown technique 'globl', did you mean"
            " 'global'?",
        ),
    ],
)
def test_a_ratio_that_cannot_be(ratio: float, technique: str, expected: str) -> None:
    """The place is the option."""
    with pytest.raises(SpecError) as refused:
        spec_from_ratio(ratio, technique)

    assert (expected,) == refused.value.problems
