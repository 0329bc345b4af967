"""JSON documents: one a command, with ``schema_version``, strict JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 1


def document(**fields: Any) -> dict[str, Any]:
    """A document with these keys after ``schema_version``."""
    return {"schema_version": SCHEMA_VERSION, **fields}


def to_text(value: Mapping[str, Any]) -> str:
    """Indented JSON in ASCII, so that any terminal and locale carries it.  NaN and
    infinities, which JSON cannot write, are null."""
    return json.dumps(_finite(value), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(inner) for inner in value]
    return value
