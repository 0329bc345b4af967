"""The SHA-256 digests that a ``.wpool`` gives of its tensors and of its header."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from . import strict_json, untrusted
from .errors import FormatError
from .names import shown

#: The key of the metadata that holds them.
KEY = "wpool.sha256"
#: The key among them under which the header's own digest stands.
HEADER = "__header__"

_SHA256 = re.compile(r"[0-9a-f]{64}")


def of_header(text: bytes, digest: str) -> str:
    """The SHA-256 of a header with zeros for its own digest.

    Args:
        text: The header, length included, up to the data section.
        digest: What the header gives as its digest.
    """
    return hashlib.sha256(text.replace(digest.encode(), b"0" * 64)).hexdigest()


def of(metadata: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """The digests that a header gives, its own among them; empty where it gives none.

    Args:
        names: The stored tensors, padding left out.

    Raises:
        FormatError: They are not one digest for each.
    """
    text = metadata.get(KEY)
    if text is None:
        return {}
    try:
        parsed: Any = strict_json.loads(text)
    except ValueError as error:
        raise FormatError(str(error), where=KEY) from None
    found = untrusted.keys_of(parsed, KEY, {HEADER, *names})
    for name, digest in found.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise FormatError(
                f"the checksum of {shown(name)} is no SHA-256: 64 hexadecimal digits,"
                " lower case",
                where=KEY,
            )
    return dict(found)
