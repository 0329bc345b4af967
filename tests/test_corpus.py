"""The splits of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wpack.corpus import Corpus
from wpack.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two texts, and tokens of all kinds."""
    (tmp_path / "a.txt").write_text("abcdefghij")
    (tmp_path / "b.txt").write_text("jihg")
    np.save(tmp_path / "a.npy", np.arange(20).reshape(5, 4))
    np.savez(tmp_path / "a.npz", tokens=np.arange(3), more=np.arange(4))
    np.arange(3, dtype="<u4").tofile(tmp_path / "a.bin")
    return tmp_path


def corpus(folder: Path, **options: Any) -> Corpus:
    """A corpus of these sources."""
    sources = {n: options.pop(n, None) for n in ("train", "validation", "test")}
    return Corpus({**sources, "train": sources["train"] or "a.txt"}, folder, **options)


def tokens(found: Corpus) -> dict[str, Any]:
    """All splits of it."""
    splits = {name: found.tokens(name) for name in ("train", "validation", "test")}
    return {n: None if each is None else each.tolist() for n, each in splits.items()}


def test_shares_are_the_end(folder: Path) -> None:
    """What is held out is in one piece: the test's share last, the validation's before
    it."""
    both = corpus(folder, validation=0.2, test=0.1, tokenizer="characters")
    one = corpus(folder, validation=0.3, tokenizer="characters")

    assert {"train": list(range(7)), "validation": [7, 8], "test": [9]} == tokens(both)
    assert {"train": list(range(7)), "validation": [7, 8, 9], "test": None} == tokens(
        one
    )
    assert folder / "a.txt" == both.path("validation")
    assert one.path("test") is None


def test_shares_of_texts(folder: Path) -> None:
    """Of rows of tokens the last are held out."""
    found = tokens(corpus(folder, train="a.npy", validation=0.4))

    assert 3 == len(found["train"])
    assert [[12, 13, 14, 15], [16, 17, 18, 19]] == found["validation"]


def test_files_of_their_own(folder: Path) -> None:
    """A split may have a file of its own, whose characters are the training text's."""
    found = tokens(corpus(folder, validation="b.txt", tokenizer="characters"))

    assert list(range(10)) == found["train"]
    assert [9, 8, 7, 6] == found["validation"]


def test_options_of_one_source(folder: Path) -> None:
    """Array and dtype hold for all sources, or for the one that names them."""
    found = corpus(
        folder,
        train={"path": "a.bin", "dtype": "uint32"},
        validation={"path": "a.npz", "array": "more"},
        test="a.npz",
    )

    assert {"train": [0, 1, 2], "validation": [0, 1, 2, 3], "test": [0, 1, 2]} == (
        tokens(found)
    )


def test_encoder_is_made_when_needed(folder: Path) -> None:
    """A folder's tokenizer is only read when there is a text."""

    def never() -> Any:
        raise AssertionError

    assert [0, 1, 2] == tokens(corpus(folder, train="a.npz", encoder=never))["train"]
    found = corpus(folder, encoder=lambda: lambda text: [len(text)])
    assert [10] == tokens(found)["train"]


@pytest.mark.parametrize(
    ("tokenizer", "unit"),
    [("characters", "character"), ("bytes", "byte"), (None, "token")],
)
def test_unit(folder: Path, tokenizer: str | None, unit: str) -> None:
    """What a token is called in metrics."""
    assert unit == corpus(folder, tokenizer=tokenizer).unit


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"validation": 1.5},
            "validation: must be a path or a share between 0 and 1, got 1.5",
        ),
        (
            {"validation": 0.5, "test": 0.5},
            "train: nothing is left to train on: validation and test hold out 1 of the"
            " tokens",
        ),
        (
            {"train": {"file": "x"}},
            "train: must be a path, or path, array and dtype; got {'file': 'x'}",
        ),
        (
            {"validation": True},
            "validation: must be a path, or path, array and dtype; got True",
        ),
        ({"dtype": "int8"}, "dtype: must be uint16 or uint32, got 'int8'"),
        (
            {},
            "tokenizer: a.txt is a text, and no tokenizer is given. Set it to"
            " characters, bytes or the path of a tokenizer.json",
        ),
        (
            {"train": "a.npy", "test": "b.txt", "tokenizer": "characters"},
            "tokenizer: ./a.npy is no text whose characters could be taken",
        ),
    ],
)
def test_wrong_options(folder: Path, options: dict[str, Any], expected: str) -> None:
    """Options that do not fit are told by their names."""
    with pytest.raises(UsageError) as caught:
        tokens(corpus(folder, **options))

    said = str(caught.value).replace(str(folder), ".")
    assert f"language-modeling: {expected}" == said
