"""The pool spec: YAML → :class:`Spec`, and a spec against a checkpoint's tensors.

Read from a file or a text, a spec is checked wholly: every mistake is reported at once,
as ``file:line:column: key.path: what``.  :func:`claims` then resolves its patterns
against a checkpoint, again with every mistake at once.
"""

from __future__ import annotations

from .claiming import Claims, claims
from .distilling import DistillSpec, HintsSpec
from .model import Spec, schema
from .pools import POOL_DTYPES, PoolSpec
from .reading import load, parse, spec_from_ratio
from .recipe import (
    AdamWSpec,
    FinetuneSpec,
    ScheduleSpec,
    SGDSpec,
    TaskSpec,
)
from .template import starter

__all__ = [
    "POOL_DTYPES",
    "AdamWSpec",
    "Claims",
    "DistillSpec",
    "FinetuneSpec",
    "HintsSpec",
    "PoolSpec",
    "SGDSpec",
    "ScheduleSpec",
    "Spec",
    "TaskSpec",
    "claims",
    "load",
    "parse",
    "schema",
    "spec_from_ratio",
    "starter",
]
