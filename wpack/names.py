"""Names of tensors that a file gives: which are allowed, and how messages show them."""

from __future__ import annotations

import re

#: Longest tensor name, in bytes of UTF-8.
MAX_NAME = 4096

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


def name_problem(name: str) -> str:
    """Why a tensor may not have this name, or "" if it may."""
    if name.isascii() and name.isprintable() and 0 < len(name) <= MAX_NAME:
        return ""
    if not name:
        return "a tensor's name is empty"
    if not encodable(name):
        return f"the tensor name {shown(name)} is not valid Unicode"
    if (nbytes := len(name.encode())) > MAX_NAME:
        return f"a tensor's name is {nbytes} bytes long; the limit is {MAX_NAME}"
    if _CONTROL.search(name):
        return f"the tensor name {shown(name)} holds a control character"
    return ""


def shown(name: str) -> str:
    """A name from a file as a message may show it: quoted, escaped, cut to length."""
    return repr(name if len(name) <= 64 else f"{name[:61]}...")


def printable(text: object) -> str:
    """``text`` with everything that a terminal would act on written as an escape.

    Control characters, ANSI sequences, line ends, marks that turn the direction of
    writing and lone surrogates become ``\\n``, ``\\x1b``, ``\\u202e``, ``\\udc80``.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii")
        for c in text
    )


def encodable(text: str) -> bool:
    """Whether UTF-8 can write it: a lone surrogate, legal in JSON, it cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
