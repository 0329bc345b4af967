"""What stands before a ``.wpool``'s data: its header, made from a plan.

Its size is known before any weight is, but for what the sizes of entropy-coded pools
add: whatever else the weights decide has room kept for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import arrangement, checksums, conformance, plan_text, stages, strict_json
from .arrangement import Arrangement
from .chain import Encoded, StageSize
from .header import build_header
from .plan import Plan
from .source import Source
from .stages import Coding

#: A digest that is not known yet; it takes as much room.
ZEROS = "0" * 64


def metadata_of(
    plan: Plan, spec_text: str, source: Source, coded: Mapping[str, Encoded]
) -> dict[str, str]:
    """The metadata but for the checksums.

    Args:
        coded: What is coded, by the names it is stored under, as far as it is known.
    """
    metadata = {
        "format": "wpool",
        "wpool.version": conformance.VERSION,
        **plan_text.metadata_of(plan),
        "wpool.source": source.to_json(),
        "wpool.spec": spec_text,
    }
    if widest := _widest_codings(plan):
        known = {name: Coding.of(each) for name, each in coded.items()}
        # Of equal length: the same keys, and numbers of no more digits.
        text = stages.dumps({**widest, **known})
        metadata[stages.KEY] = text.ljust(len(stages.dumps(widest)))
    return metadata


def header_of(
    metadata: Mapping[str, str], arranged: Arrangement, digests: Mapping[str, str]
) -> bytes:
    """The whole header.

    Args:
        digests: Stored tensor → SHA-256, as far as they are known.
    """
    names = [checksums.HEADER, *(entry.name for entry in arranged.stored)]
    sha256 = strict_json.dumps({name: digests.get(name, ZEROS) for name in names})
    return build_header(
        {**metadata, checksums.KEY: sha256}, arranged.entries, arranged.alignment
    )


def _widest_codings(plan: Plan) -> dict[str, Coding]:
    """What to tell of codecs in no fewer digits than the truth takes."""
    widest = {}
    for name, (chain, dtype, numel) in arrangement.coded(plan).items():
        most = numel * dtype.itemsize + chain.bound(numel, dtype)
        sizes = tuple(StageSize(codec, most) for codec in ("", *chain.names))
        widest[name] = Coding(sizes, most)
    return widest
