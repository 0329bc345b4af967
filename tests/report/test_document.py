"""JSON documents."""

from __future__ import annotations

import json
import math

from wpack.report.document import document, to_text


def test_schema_version_comes_first() -> None:
    """Every document says which schema it follows."""

    assert list(document(path="x")) == ["schema_version", "path"]
    assert document()["schema_version"] == 1


def test_strict_json() -> None:
    """NaN and infinities are null at any depth; tuples are lists; text is ASCII."""
    text = to_text({"a": math.nan, "b": [(math.inf, 1.5)], "c": {"é": None, "n": 2}})

    assert json.loads(text) == {"a": None, "b": [[None, 1.5]], "c": {"é": None, "n": 2}}
    assert text.isascii()
