"""Values of a document that a stranger wrote, checked one at a time.

Each function returns the value with its type proved, or raises FormatError naming the
place, the rule and what came instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from .errors import FormatError
from .tensors import BY_CODE, DType

MAX_RANK = 32
#: No count, size or position in a file reaches this.
MAX_INT = 1 << 63


def mapping(value: Any, where: str, what: str) -> Mapping[str, Any]:
    """An object."""
    if not isinstance(value, dict):
        raise FormatError(f"{what} must be an object, got {value!r:.40}", where=where)
    return value


def keys_of(value: Any, where: str, names: Set[str]) -> Mapping[str, Any]:
    """An object with exactly these keys."""
    if isinstance(value, dict) and value.keys() == names:
        return value
    fields = mapping(value, where, "the entry")
    odd = sorted(fields.keys() ^ names)[0]
    verb = "has the unknown key" if odd in fields else "lacks the key"
    raise FormatError(f"{verb} {odd[:80]!r}", where=where)


def items(value: Any, where: str, what: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        raise FormatError(f"{what} must be a list, got {value!r:.40}", where=where)
    return value


def text(value: Any, where: str, what: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise FormatError(f"{what} must be a name, got {value!r:.40}", where=where)
    return value


def integer(value: Any, where: str, what: str, minimum: int = 0) -> int:
    """An integer from ``minimum`` to 2^63 - 1."""
    # bool is an int to Python, and true is no number.
    if type(value) is not int or not minimum <= value < MAX_INT:
        raise FormatError(
            f"{what} must be an integer from {minimum}, got {value!r:.40}", where=where
        )
    return value


def dtype_of(value: Any, where: str) -> DType:
    """A safetensors dtype code of the table in :mod:`wpack.tensors`."""
    if not isinstance(value, str) or value not in BY_CODE:
        raise FormatError(
            f"unknown dtype {value!r:.40} (there are: {', '.join(BY_CODE)})",
            where=where,
        )
    return BY_CODE[value]


def shape_of(value: Any, where: str) -> tuple[int, ...]:
    """A list of dimensions: at most 32, with a product below 2^63."""
    numel = 1
    for size in items(value, where, "shape")[: MAX_RANK + 1]:
        if type(size) is not int or not 0 <= size < MAX_INT:
            integer(size, where, "shape")
        numel *= size
    if len(value) > MAX_RANK or numel >= MAX_INT:
        shown = f"{value[: MAX_RANK + 1]!r:.80}"
        raise FormatError(f"shape {shown} is too large", where=where)
    return tuple(value)
