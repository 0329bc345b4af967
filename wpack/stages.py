"""What coded pools and groups take, stage by stage: the text of ``wpool.info.codecs``.

Information for people, which nothing in a file depends on: a reader that finds it
missing or odd does without.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import strict_json
from .arrangement import Coded
from .chain import Encoded, StageSize

#: The key of the metadata that holds it.
KEY = "wpool.info.codecs"


class Coding(NamedTuple):
    """What a coded pool or group of kept tensors takes.

    Attributes:
        stages: What it takes before the first codec and after each; the last is what
            the file holds.
        entropy_nbytes: The order-0 entropy of its symbols, in whole bytes: what no
            coder that looks at one symbol at a time goes below; None where that, and
            all stages but the last, are not known.
    """

    stages: tuple[StageSize, ...]
    entropy_nbytes: int | None

    @classmethod
    def of(cls, encoded: Encoded) -> Coding:
        """Of what has just been encoded."""
        return cls(encoded.stages, math.ceil(encoded.entropy_nbytes))

    @property
    def stored_bytes(self) -> int:
        """Bytes in the file."""
        return self.stages[-1].nbytes


def dumps(codings: Mapping[str, Coding]) -> str:
    """Canonical JSON: stored name → stages and entropy."""
    return strict_json.dumps(
        {
            name: {
                "stages": [[codec, nbytes] for codec, nbytes in coding.stages],
                "entropy_nbytes": coding.entropy_nbytes,
            }
            for name, coding in codings.items()
        }
    )


def loads(text: str) -> dict[str, Coding]:
    """What :func:`dumps` wrote, without what is no such thing; never an error."""
    try:
        document = strict_json.loads(text)
    except ValueError:
        return {}
    found = document.items() if isinstance(document, dict) else ()
    read = {name: _coding(value) for name, value in found}
    return {name: coding for name, coding in read.items() if coding is not None}


def checked(told: Coding | None, coded: Coded, nbytes: int) -> Coding:
    """What a file says of a pool or group, if its plan and the bytes stored bear it
    out; else what those alone say."""
    names = ("", *coded.chain.names)
    if (
        told is not None
        and tuple(stage.codec for stage in told.stages) == names
        and (told.stages[0].nbytes, told.stored_bytes) == (coded.nbytes, nbytes)
    ):
        return told
    return Coding((StageSize(names[-1], nbytes),), None)


def _coding(value: Any) -> Coding | None:
    if not isinstance(value, dict) or value.keys() != {"stages", "entropy_nbytes"}:
        return None
    stages, entropy = value["stages"], value["entropy_nbytes"]
    if not isinstance(stages, list) or not stages or not _is_size(entropy):
        return None
    sound = all(
        isinstance(s, list) and len(s) == 2 and isinstance(s[0], str) and _is_size(s[1])
        for s in stages
    )
    return Coding(tuple(StageSize(*s) for s in stages), entropy) if sound else None


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 63
