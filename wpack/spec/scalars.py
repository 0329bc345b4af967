"""What a plain YAML scalar means, by YAML 1.2's core schema, and writing one back.

PyYAML's own meaning is YAML 1.1's: ``1e-4`` a string, ``no`` false, ``010`` eight and
``1:30`` ninety.  None of that is what the writer of a spec had in mind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

#: Digits an integer may have: enough for every count in a spec, and little work.
MAX_DIGITS = 18

_NULL = re.compile(r"(?:~|null|Null|NULL|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_BREAK = re.compile("[\t\n\r\x85\u2028\u2029]")


def resolve(text: str) -> str | int | float | bool | None:
    """The value of a plain (unquoted) scalar.

    Raises:
        ValueError: An integer has more than 18 digits.
    """
    if _NULL.match(text):
        return None
    if _BOOL.match(text):
        return text[0] in "tT"
    if _INT.match(text):
        return _integer(text)
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS + 2:
        raise ValueError(
            f"a number of {len(text)} digits, {MAX_DIGITS} are the most there may be"
        )
    bases = {"0o": 8, "0x": 16}
    return int(text, bases.get(text[:2], 10))


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that :func:`resolve` would not read as strings."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


# Assigned, not added: what SafeDumper inherits are the rules of YAML 1.1.
_Dumper.yaml_implicit_resolvers = {
    None: [
        (f"tag:yaml.org,2002:{tag}", pattern)
        for tag, pattern in (
            ("null", _NULL),
            ("bool", _BOOL),
            ("int", _INT),
            ("float", _FLOAT),
            ("merge", re.compile(r"<<\Z")),
        )
    ]
}


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # A quoted text of several lines could begin one with a tab: write escapes instead.
    style = '"' if _BREAK.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def dump(values: Mapping[str, Any]) -> str:
    """Canonical YAML of plain values: block style, keys in the order given.

    :func:`wpack.spec.nodes.compose` reads it back to equal values.
    """
    return yaml.dump(
        dict(values),
        Dumper=_Dumper,
        allow_unicode=True,
        default_flow_style=False,
        sort_keys=False,
        width=10**6,
    )


def quoted(text: str) -> str:
    """``text`` as a YAML string in double quotes, on one line."""
    return str(
        yaml.dump(
            text, Dumper=_Dumper, allow_unicode=True, default_style='"', width=10**6
        )
    ).rstrip("\n")
