"""The plan as a header's metadata: JSON, or JSON deflated where bytes are dear.

The names and shapes of a small network's tensors can take as much room as its weights.
A file whose pools are entropy-coded is wanted small, so its plan is deflated (RFC 1950)
and written in base64; others keep a plan that people and other tools can read.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping

from .errors import FormatError
from .plan import Plan

PLAIN, DEFLATED = "wpool.plan", "wpool.plan.zlib"
#: Bytes that a deflated plan may come to: some 20,000 tensors.  A file of a few
#: kilobytes could be the most that there can be, and reading a plan takes time and
#: memory with its size.
MOST_BYTES = 2 << 20


def metadata_of(plan: Plan) -> dict[str, str]:
    """The one entry that holds the plan."""
    text = plan.to_json()
    if not plan.exact and len(text) <= MOST_BYTES:
        deflated = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        if len(deflated) < len(text):
            return {DEFLATED: deflated}
    return {PLAIN: text}


def text_of(metadata: Mapping[str, str]) -> str:
    """The plan's JSON; nothing is trusted.

    Raises:
        FormatError: There is none, or there are two, or it cannot be inflated.
    """
    held = [key for key in (PLAIN, DEFLATED) if key in metadata]
    if len(held) != 1:
        what = "there is no" if not held else "there are two of"
        raise FormatError(f"{what} {PLAIN}", where="__metadata__")
    if held == [PLAIN]:
        return metadata[PLAIN]
    try:
        return _inflated(metadata[DEFLATED])
    except ValueError as error:
        raise FormatError(str(error), where=DEFLATED) from None


def _inflated(text: str) -> str:
    """
    Raises:
        ValueError: It is no base64 of one zlib stream of a text that is not too long.
    """
    inflater = zlib.decompressobj()
    try:
        data = base64.b64decode(text, validate=True)
        plan = inflater.decompress(data, MOST_BYTES)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    except zlib.error:
        raise ValueError("is no zlib stream, or a damaged one") from None
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"is cut short, goes on, or comes to over {MOST_BYTES} bytes")
    try:
        return plan.decode()
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
