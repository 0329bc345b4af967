"""Chains of codecs in a plan: read as they were written, refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from tests.blobs import chain_of, needs
from wpack.chain_reader import chain_of as read_chain
from wpack.errors import FormatError

_UNWRITTEN = "p: codec prune has the number {}, not as it is written"


@needs("prune, int")
def test_numbers_are_read_as_they_are_written() -> None:
    """What is no integer is text, and comes back as the same number."""
    document = [{"name": "prune", "share": "0.1"}, {"name": "int", "bits": 4}]

    assert chain_of("prune: 0.1, int: 4") == read_chain(document, "p")


@needs("prune, int, zstd")
@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "p: codecs is an empty list"),
        ({}, "p: codecs must be a list, got {}"),
        (["zstd"], "p: a codec must be an object, got 'zstd'"),
        ([{}], "p: codec name must be a name, got None"),
        ([{"name": "os.system"}], "p: unknown codec 'os.system' (there are: "),
        ([{"name": "zstd"}, {"name": "int"}], "p: codecs: int must come before zstd"),
        ([{"name": "int", "x": 1}], "p: codec int has no option 'x'"),
        ([{"name": "prune", "share": "x"}], _UNWRITTEN.format("'x'")),
        ([{"name": "prune", "share": "0.50"}], _UNWRITTEN.format("'0.50'")),
        ([{"name": "prune", "share": "nan"}], _UNWRITTEN.format("'nan'")),
        ([{"name": "prune", "share": "inf"}], _UNWRITTEN.format("'inf'")),
    ],
)
def test_refused(document: Any, message: str) -> None:
    """Each rule has its sentence, and names the pool or group."""
    with pytest.raises(FormatError) as refused:
        read_chain(document, "p")

    assert str(refused.value).startswith(message)
