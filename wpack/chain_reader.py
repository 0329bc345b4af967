"""A chain of codecs read from a plan's JSON, which a stranger may have written."""

from __future__ import annotations

import math
from typing import Any

from . import codecs, untrusted
from .chain import Chain
from .codecs import Codec
from .errors import FormatError, SpecError


def chain_of(document: Any, where: str) -> Chain:
    """The codecs of a pool or group, of which there is at least one."""
    found = untrusted.items(document, where, "codecs")
    if not found:
        raise FormatError("codecs is an empty list", where=where)
    try:
        return Chain(tuple(_codec(fields, where) for fields in found))
    except ValueError as error:
        raise FormatError(f"codecs: {error}", where=where) from None


def _codec(document: Any, where: str) -> Codec:
    options = dict(untrusted.mapping(document, where, "a codec"))
    name = untrusted.text(options.pop("name", None), where, "codec name")
    try:
        kind = codecs.named(name)
        defaults = kind().fields()
        for key, value in options.items():
            if isinstance(defaults.get(key), float) and isinstance(value, str):
                options[key] = _number(value)
        return kind.from_options(options)
    except SpecError as error:
        raise FormatError(str(error), where=where) from None
    except ValueError as error:
        raise FormatError(f"codec {name} {error}", where=where) from None


def _number(text: str) -> float:
    """A number that is no integer, as :meth:`~wpack.plan.Plan.to_json` writes it.

    Raises:
        ValueError: It is written in another way.
    """
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found) or repr(found) != text:
        raise ValueError(f"has the number {text!r:.40}, not as it is written")
    return found
