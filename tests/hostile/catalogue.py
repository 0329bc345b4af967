"""All cases, by name: those of the tables of bad headers and plans, and those of this
folder's files, one function a case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

from tests import bad_headers, bad_plans
from tests.hostile import (
    bombs,
    chains,
    claims,
    coded,
    headers,
    inputs,
    payloads,
    pickles,
    plans,
    shards,
    specs,
    tasks,
    techniques,
)
from tests.hostile.case import Case, Maker, header_case, pool_case
from wpack import codecs

_NAME = re.compile(r"[a-z]\d\d_")
_FILES: tuple[ModuleType, ...] = (
    *(headers, inputs, plans, techniques, coded, chains, payloads, pickles, shards),
    *(specs, claims, tasks, bombs),
)
#: Rows of the tables that are something else by their content, or to other commands.
_OTHERWISE = {
    *("H29 zip", "H29 pickle", "H29 index"),
    *("no format", "another format"),
}


def _header(data: bytes, message: str, folder: Path) -> Case:
    return header_case(folder, data, message)


def _pool(data: bytes, message: str, folder: Path) -> Case:
    return pool_case(folder, data, message)


def _all() -> Iterator[tuple[str, Maker]]:
    for name, row in bad_headers.REFUSED.items():
        if name not in _OTHERWISE:
            yield f"header {name}", partial(_header, *row)
    for name, row in bad_plans.REFUSED.items():
        if name not in _OTHERWISE:
            yield f"plan {name}", partial(_pool, *row)
    for module in _FILES:
        if set(codecs.names()).issuperset(getattr(module, "NEEDED", ())):
            for name, value in vars(module).items():
                if _NAME.match(name) and value is not None:
                    yield name, value


CASES: dict[str, Maker] = dict(_all())
#: Their names, and those of cases that are gone with their technique or codec.
NAMES = [
    *CASES,
    *(n for m in _FILES for n in vars(m) if _NAME.match(n) and n not in CASES),
]
