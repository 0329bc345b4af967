"""From text to numbers of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from wpack.errors import TrainingError, UsageError
from wpack.vocabulary import Bytes, Characters, Encoded, tokenizer_file


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of four different characters."""
    path = tmp_path / "train.txt"
    path.write_text("caba\U0001f600", "utf-8")
    return path


def test_characters(text: Path) -> None:
    """Characters are numbered in the order of their code points."""
    vocabulary = Characters(text)

    assert [ord("a"), ord("b"), ord("c"), 0x1F600] == vocabulary.codes.tolist()
    assert [2, 0, 1, 0, 3] == vocabulary.encode(text).tolist()
    assert np.uint16 == vocabulary.encode(text).dtype


def test_new_characters(text: Path) -> None:
    """A text with characters that were not trained on is refused with the first of
    them."""
    other = text.with_name("test.txt")
    other.write_text("abzABCDE", "utf-8")
    with pytest.raises(TrainingError) as caught:
        Characters(text).encode(other)

    assert (
        f"{other}: 6 of its characters are not in train.txt: 'A', 'B', 'C', 'D', 'E',"
        " …. Train on a text that has them, or set tokenizer: bytes"
    ) == str(caught.value)


def test_bytes(text: Path) -> None:
    """Bytes are the file's own."""
    assert list(text.read_bytes()) == Bytes().encode(text).tolist()


def test_encoded(text: Path) -> None:
    """Whatever tokenizer there is gets the whole text."""
    vocabulary = Encoded(lambda found: [len(found), 7])

    assert [5, 7] == vocabulary.encode(text).tolist()


def test_tokenizer_file(text: Path) -> None:
    """A tokenizer.json is read by the library tokenizers, and adds no special tokens.

    It is written by hand: a word level over single characters.
    """
    pytest.importorskip("tokenizers", reason="the extra hf is not installed")
    path = text.with_name("tokenizer.json")
    model = {"type": "WordLevel", "vocab": {"[U]": 0, "caba": 5}, "unk_token": "[U]"}
    special = {"id": "[U]", "type_id": 0}
    wrapped = [{"SpecialToken": special}, {"Sequence": {"id": "A", "type_id": 0}}]
    known = {"[U]": {"id": "[U]", "ids": [0], "tokens": ["[U]"]}}
    document = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": wrapped,
            "pair": [*wrapped, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": known,
        },
        "model": model,
    }
    path.write_text(json.dumps(document))
    text.write_text("caba caba acab")

    assert [5, 5, 0] == tokenizer_file(path).encode(text).tolist()


def test_no_tokenizer_file(tmp_path: Path) -> None:
    """A path that is no file is told with what a tokenizer may be."""
    with pytest.raises(UsageError) as caught:
        tokenizer_file(tmp_path / "charcters")

    assert (
        f"{tmp_path / 'charcters'}: there is no such file. tokenizer is characters,"
        " bytes or the path of a tokenizer.json"
    ) == str(caught.value)


def test_broken_tokenizer_file(tmp_path: Path) -> None:
    """A file that is no tokenizer is refused with what the library says."""
    pytest.importorskip("tokenizers", reason="the extra hf is not installed")
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(UsageError) as caught:
        tokenizer_file(path)

    assert str(caught.value).startswith(f"{path}: is no tokenizer: ")
