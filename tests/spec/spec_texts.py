"""Spec texts for the tests, and what is wrong with a text."""

from __future__ import annotations

import pytest

from wpack.errors import SpecError
from wpack.spec import parse

#: The least there can be.
LEAST = "version: 1\npools: {main: {tensors: ['*'], ratio: 2}}\n"


def mistakes(text: str, *overrides: str) -> list[str]:
    """Every problem of a spec that must be refused; its file is called ``s``."""
    with pytest.raises(SpecError) as refused:
        parse(text, "s", overrides)
    return list(refused.value.problems)


def with_pool(keys: str) -> str:
    """A spec whose one pool, ``p``, has these keys (flow style)."""
    return f"version: 1\npools:\n  p: {{{keys}}}\n"


def with_finetune(keys: str) -> str:
    """A right spec with these keys (flow style) under ``finetune``."""
    return f"{LEAST}finetune: {{{keys}}}\n"
