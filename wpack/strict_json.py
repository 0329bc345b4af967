"""JSON as a file from a stranger must be read: one meaning, bounded work.

Python's parser takes duplicate keys (the last wins), NaN, Infinity, and floats that
overflow.  Headers, plans and shard indexes need none of these.  Their readers check
every value's type, so what is nested too deeply or out of range is refused there.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn


class _Refused(ValueError):
    """Found by our own hooks, in words of our own."""


def loads(text: str) -> Any:
    """Parse one JSON document of objects, lists, strings, integers and literals.

    Raises:
        ValueError: A key stands twice, a number is not an integer, the nesting
            exhausts the parser, or it is no JSON; the message says which, in words
            fit for a user.
    """
    # A function of our own is slow, and text that has no -0 needs none.
    parse_int = _integer if "-0" in text else None
    try:
        return json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=parse_int,
            parse_constant=_refuse_number,
            parse_float=_refuse_number,
        )
    except _Refused:
        raise
    except json.JSONDecodeError as error:
        what = error.msg.removesuffix(" at")
        raise ValueError(f"not JSON: {what} at character {error.pos}") from None
    except ValueError:
        # Python's own limit: to read so many digits takes quadratic time.
        raise ValueError("an integer has thousands of digits") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None


def dumps(value: Any) -> str:
    """Canonical JSON: keys sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Refused(f"the key {key[:80]!r} stands twice in one object")
            seen.add(key)
    return found


def _integer(literal: str) -> int:
    """Minus nought is a float to other parsers, and safetensors refuses it."""
    if literal == "-0":
        _refuse_number(literal)
    return int(literal)


def _refuse_number(literal: str) -> NoReturn:
    raise _Refused(f"the number {literal[:40]} is not an integer")
