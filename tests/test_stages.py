"""What a file tells of its codecs' stages, and how far that is believed."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.blobs import chain_of, needs
from wpack import stages
from wpack.arrangement import Coded
from wpack.chain import Encoded, StageSize
from wpack.stages import Coding
from wpack.tensors import FLOAT32

CODING = Coding((StageSize("", 40), StageSize("int", 30), StageSize("zstd", 20)), 17)
CODED = Coded(chain_of("int, zstd"), FLOAT32, 10)


def test_round_trip() -> None:
    """What was written is read, spaces after it or not, whatever order it came in."""
    codings = {"pool/b": CODING, "kept/0": CODING._replace(entropy_nbytes=0)}
    text = stages.dumps(codings)

    assert codings == stages.loads(text + "   ")
    assert text == stages.dumps(dict(reversed(codings.items())))
    assert text.startswith('{"kept/0":{"entropy_nbytes":0,"stages":[["",40],["int",30]')


def test_of_what_was_encoded() -> None:
    """Its stages, and a bound that is no less than it says."""
    told = (StageSize("", 40), StageSize("prune", 20))

    assert Coding(told, 18) == Coding.of(Encoded(np.zeros(20, "u1"), told, 17.2))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"stages": [["", 1]]},
        {"stages": [["", 1]], "entropy_nbytes": -1},
        {"stages": [["", 1]], "entropy_nbytes": True},
        {"stages": [["", 1]], "entropy_nbytes": 1 << 63},
        {"stages": [], "entropy_nbytes": 1},
        {"stages": {}, "entropy_nbytes": 1},
        {"stages": [["", 1, 2]], "entropy_nbytes": 1},
        {"stages": [[3, 1]], "entropy_nbytes": 1},
        {"stages": [["", "1"]], "entropy_nbytes": 1},
        {"stages": [["", 1]], "entropy_nbytes": 1, "more": 1},
    ],
)
def test_what_makes_no_sense_is_passed_over(value: Any) -> None:
    """Nobody is hurt by odd information, and the rest of it is read."""
    good = json.loads(stages.dumps({"good": CODING}))

    assert stages.loads(json.dumps({"odd": value, **good})) == {"good": CODING}


@pytest.mark.parametrize("text", ["", "[]", "3", "{", '{"a": 1.5}', '{"a":1,"a":2}'])
def test_no_document(text: str) -> None:
    """What is no such text tells nothing."""
    assert {} == stages.loads(text)


@needs("int, zstd")
@pytest.mark.parametrize(
    ("told", "nbytes"),
    [
        (None, 20),
        (CODING, 21),
        (CODING._replace(stages=(StageSize("", 41), *CODING.stages[1:])), 20),
        (CODING._replace(stages=CODING.stages[:1]), 40),
        (CODING._replace(stages=CODING.stages[::2]), 20),
    ],
)
def test_what_the_file_contradicts(told: Coding | None, nbytes: int) -> None:
    """Of other codecs or other sizes than the file's own, only the latter count."""
    found = stages.checked(told, CODED, nbytes)

    assert Coding((StageSize("zstd", nbytes),), None) == found
    assert nbytes == found.stored_bytes


@needs("int, zstd")
def test_what_the_file_bears_out() -> None:
    """Information that fits its file is taken."""
    assert CODING == stages.checked(CODING, CODED, 20)
