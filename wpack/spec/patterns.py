"""Patterns over tensor names.

A pattern is a glob as :mod:`fnmatch` has it: ``*`` any text (dots too), ``?`` one
character, ``[ab]`` one of a set; letter case counts.  ``re:`` starts a regular
expression that has to match the whole name.  ``#part`` at the end asks for one part of
each tensor; a ``#`` that belongs to the name is written ``[#]``.
"""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import StorageError

#: Seconds that the regular expressions of a spec may take together.
REGEX_SECONDS = 1.0
#: Characters that a regular expression may have: compiling it must not take long.
MAX_LENGTH = 1000

_PART = re.compile(r"(.*)#([A-Za-z0-9_]+)", re.DOTALL)
_NUMBER = re.compile(r"(?<![^.])[0-9]+(?![^.])")

# Python's own matcher backtracks, holds the interpreter while it does so and cannot be
# interrupted from another thread: (a+)+$ would hang the caller for years.  No static
# test tells the harmless from the harmful ((a*b)* is harmless, .*.*.*.*x is not).  A
# child process can be killed on every system, so that is where they run: about 25 ms,
# only for specs that have any.
_CHILD = """
import json, re, sys
print("ready", flush=True)
expressions, names = json.load(sys.stdin)
for expression in expressions:
    matches = re.compile(expression).fullmatch
    print(json.dumps([i for i, n in enumerate(names) if matches(n)]), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern taken apart.

    Attributes:
        body: The glob or the regular expression, without ``re:`` and ``#part``.
        part: Name of the part asked for, or "" for the whole tensor.
        is_regex: Whether ``body`` is a regular expression.
    """

    body: str
    part: str
    is_regex: bool

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Take a pattern of the spec apart.

        Raises:
            ValueError: It is empty, too long, or no valid regular expression; the
                message is fit for a user.
        """
        is_regex = text.startswith("re:")
        body, part = text.removeprefix("re:"), ""
        if (found := _PART.fullmatch(body)) is not None:
            body, part = found.groups()
        if is_regex and len(body) > MAX_LENGTH:
            raise ValueError(f"is longer than {MAX_LENGTH} characters")
        if not body:
            raise ValueError("is an empty pattern, it matches nothing")
        if is_regex and (why := _invalid(body)) is not None:
            raise ValueError(f"is no regular expression: {why}")
        return cls(body, part, is_regex)

    def names(self, tensor: str) -> bool:
        """Whether the pattern is this tensor's very name and not a rule."""
        return not self.is_regex and self.body == tensor


def _invalid(expression: str) -> str | None:
    """Why ``re`` refuses an expression, warnings about its meaning included."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            re.compile(expression)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        return str(error)
    return None


class TooSlow(Exception):
    """A regular expression was stopped; ``expression`` is the one."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        super().__init__(expression)


def matching(
    patterns: Sequence[Pattern], names: Sequence[str]
) -> dict[Pattern, tuple[str, ...]]:
    """Which of ``names`` each pattern matches, in their order.

    Raises:
        TooSlow: The regular expressions together took longer than a second.
        StorageError: No child process could be started to match them in.
    """
    regexes = list(dict.fromkeys(p.body for p in patterns if p.is_regex))
    by_regex = _matching_regexes(regexes, names) if regexes else {}
    return {
        p: by_regex[p.body] if p.is_regex else _glob(p.body, names) for p in patterns
    }


def _glob(glob: str, names: Sequence[str]) -> tuple[str, ...]:
    # fnmatch.translate makes expressions that do not backtrack from star to star.
    matches = re.compile(fnmatch.translate(glob)).match
    return tuple(name for name in names if name == glob or matches(name))


def _matching_regexes(
    expressions: Sequence[str], names: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    job = json.dumps([list(expressions), list(names)])
    with _start_child() as child:
        assert child.stdout is not None
        # The clock starts when the child does, not while a busy machine starts it.
        child.stdout.readline()
        try:
            output, _ = child.communicate(job, timeout=REGEX_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            output, _ = child.communicate()
            # One line a finished expression: the next is the one that did not finish.
            raise TooSlow(expressions[output.count("\n")]) from None
        finally:
            child.kill()
        if child.returncode:
            raise _no_child(f"it ended with status {child.returncode}")
    rows = [json.loads(line) for line in output.splitlines()]
    return {
        expression: tuple(names[i] for i in row)
        for expression, row in zip(expressions, rows, strict=True)
    }


def _start_child() -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            [sys.executable, "-IS", "-c", _CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="ascii",
        )
    except OSError as error:
        raise _no_child(str(error)) from None


def _no_child(why: str) -> StorageError:
    return StorageError(
        f"no Python process to match regular expressions in: {why}",
        where=sys.executable,
        hint="Write the spec's patterns as globs",
    )


def role(name: str) -> str:
    """What a tensor is for, whichever block it is in: components that are numbers
    become ``*``, ``blocks.3.mlp.fc1.weight`` → ``blocks.*.mlp.fc1.weight``."""
    return _NUMBER.sub("*", name)


def role_regex(name: str) -> str:
    """A pattern for every tensor of the same role and no other."""
    pieces = (re.escape(piece) for piece in _NUMBER.split(name))
    return "re:" + "[0-9]+".join(pieces).replace(r"\#", "[#]")


def exactly(name: str) -> str:
    """A pattern for one tensor: its name, or a glob of it where the name's own
    characters would mean something."""
    plain = re.sub(r"[*?\[#]", r"[\g<0>]", name)
    return f"[r]{plain[1:]}" if plain.startswith("re:") else plain
