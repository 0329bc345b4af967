"""Which tensors each pattern of a spec matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import SpecError
from .mistakes import closest
from .model import Spec
from .patterns import REGEX_SECONDS, Pattern, TooSlow, matching, role
from .problems import KeyPath, Problem, report, shown


def matches_of(
    spec: Spec, names: Sequence[str]
) -> tuple[Mapping[str, tuple[str, ...]], list[Problem]]:
    """Names that each pattern of the spec matches, by the pattern's text.

    Args:
        names: Of all tensors, in checkpoint order.

    Returns:
        The matches, and a problem for each pattern that has none.

    Raises:
        SpecError: A regular expression takes too long.
    """
    parsed = {text: Pattern.parse(text) for _, text in _patterns(spec)}
    try:
        found = matching(list(parsed.values()), names)
    except TooSlow as error:
        slow = [
            spec.problem(path, f"{shown(text)} takes over {REGEX_SECONDS:g} s to match")
            for path, text in _patterns(spec)
            if parsed[text].is_regex and parsed[text].body == error.expression
        ]
        raise SpecError(report(slow)) from None
    problems = [
        spec.problem(
            path, f"{shown(text)} matches no tensor{_hint(parsed[text], names)}"
        )
        for path, text in _patterns(spec)
        if not found[parsed[text]]
    ]
    return {text: found[pattern] for text, pattern in parsed.items()}, problems


def _patterns(spec: Spec) -> Iterator[tuple[KeyPath, str]]:
    for text in spec.split:
        yield ("split", text), text
    for name, pool in spec.pools.items():
        for index, text in enumerate(pool.tensors):
            yield ("pools", name, "tensors", index), text
    for index, text in enumerate(spec.keep):
        yield ("keep", index), text
    for text in spec.keep_codecs:
        yield ("keep_codecs", text), text


def _hint(pattern: Pattern, names: Sequence[str]) -> str:
    if pattern.is_regex:
        return ""
    # Enough names to meet every role, few enough to compare with at once.
    some = list(dict.fromkeys(names[:2000]))
    known = sorted({role(name) for name in some}) if "*" in pattern.body else some
    close = closest(pattern.body, known)
    suffix = f"#{pattern.part}" if pattern.part else ""
    return f", did you mean {shown(close + suffix)}?" if close else ""
