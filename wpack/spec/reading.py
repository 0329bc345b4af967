"""Spec files and texts → :class:`Spec`, or every mistake at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pydantic import ValidationError

from ..errors import SpecError, StorageError
from .mistakes import problems_of
from .model import Spec, keys_at
from .nodes import MAX_BYTES, compose
from .overrides import apply
from .pools import DEFAULT_TECHNIQUE
from .problems import KeyPath, Place, Problem, position, report
from .scalars import resolve


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Spec:
    """Read a spec file; ``-`` is the standard input.

    Args:
        overrides: As for :func:`parse`.

    Raises:
        SpecError: The text is no spec; every mistake is listed.
        StorageError: The file cannot be read.
    """
    name = os.fspath(path)
    source = _one_line("<stdin>" if name == "-" else name)
    spec = parse(_decode(_read(name, source), source), source, overrides)
    if name != "-":
        spec._folder = Path(name).parent
    return spec


def parse(text: str, filename: str = "<spec>", overrides: Sequence[str] = ()) -> Spec:
    """Read a spec.

    Args:
        filename: What messages call the text.
        overrides: ``key.path=value`` each, values in YAML, applied in order; a key
            with a dot in it stands in double quotes: ``split."a.b"=[q, k]``.

    Raises:
        SpecError: The text or an override is wrong; every mistake is listed, as
            ``filename:line:column: key.path: what``.
    """
    source = _one_line(filename)
    text = text.removeprefix("\ufeff")
    root, problems = compose(text, source)
    if root is None:
        raise SpecError(report(problems))
    problems += apply(root, overrides)
    values = root.plain()
    try:
        spec = Spec.model_validate(values)
    except ValidationError as error:
        problems += problems_of(
            error, root, source, lambda path: keys_at(path, _value(values, path))
        )
    if problems:
        raise SpecError(report(problems))
    # Private attributes: where a spec was written is no part of its value.
    spec._root, spec._source = root, source
    spec._text = None if overrides else text
    return spec


def spec_from_ratio(
    ratio: float, technique: str = DEFAULT_TECHNIQUE, codecs: Sequence[str] = ()
) -> Spec:
    """The spec of ``--ratio``: one pool, ``main``, over every tensor a pattern ``*``
    may claim (rank 2 or more, of a dtype that a pool can hold).

    Args:
        codecs: Of the pool, in order, as ``--codec`` has them: a name, or
            ``name=value`` with the value of the codec's first field.

    Raises:
        SpecError: The ratio is below 1 or not finite, or there is no such technique or
            chain of codecs.
    """
    pool: dict[str, Any] = {"technique": technique, "tensors": ("*",), "ratio": ratio}
    source = "--codec" if codecs else "--ratio"
    if codecs:
        pool["codecs"] = [_codec(text) for text in codecs]
    try:
        spec = Spec.model_validate({"version": 1, "pools": {"main": pool}})
    except ValidationError as error:
        problems = problems_of(error, None, source, lambda path: ())
        raise SpecError(report(problems)) from None
    spec._source = "--ratio"
    return spec


def _codec(text: str) -> Any:
    """An item of a pool's codecs, as a spec has it."""
    name, equals, value = text.partition("=")
    return {name: resolve(value)} if equals else name


def _value(values: Any, path: KeyPath) -> Any:
    for key in path:
        values = values[key]
    return values


def _read(name: str, source: str) -> bytes:
    """At most one byte more than a spec may have."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with open(name, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or str(error)
        raise StorageError(f"cannot read the spec: {why}", where=source) from None
    except ValueError as error:
        raise StorageError(f"cannot read the spec: {error}", where=source) from None


def _decode(data: bytes, source: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        _refuse(Place(0, 1, 1, source), "UTF-16 text; save the file as UTF-8")
    # A text that was cut off is refused for its length, whatever its last character.
    errors = "strict" if len(data) <= MAX_BYTES else "replace"
    try:
        return data.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8").removeprefix("\ufeff")
        what = f"byte 0x{data[error.start]:02X} is not UTF-8; save the file as UTF-8"
        _refuse(position(before, len(before), source), what)


def _refuse(place: Place, what: str) -> NoReturn:
    raise SpecError([str(Problem(place, (), what))])


def _one_line(name: str) -> str:
    """A name that cannot break a message's line or steer a terminal."""
    return name if name.isprintable() else repr(name)
