"""The plan in a ``.wpool``, which is its slice table: JSON from a stranger."""

from __future__ import annotations

from random import Random

from fuzz import trees
from fuzz.container import WORDS
from fuzz.plans import check_plan, check_weights, nameable
from fuzz.target import Target, insist
from wpack.arrangement import arrange
from wpack.errors import FormatError, PlanError
from wpack.names import name_problem
from wpack.plan import RESERVED_PREFIXES, Plan
from wpack.plan_reader import read_plan

#: Most bytes of working weights that are made of one input.
_MAX_WORKING = 1 << 22


def read(data: bytes) -> None:
    """Read a plan, and everything that is asked of one."""
    plan = read_plan(data.decode("utf-8", "replace"))
    check_plan(plan)
    working_bytes = sum(tensor.info.nbytes for tensor in plan.pooled)
    if nameable(plan) and working_bytes <= _MAX_WORKING:
        check_weights(plan)
    _check_arrangement(plan)


def _check_arrangement(plan: Plan) -> None:
    """It has its place in a file, unless the names cannot stand there."""
    names = [pool.name for pool in plan.pools] + [t.name for t in plan.tensors]
    bad = any(name_problem(n) or n.startswith(RESERVED_PREFIXES) for n in names)
    try:
        entries = arrange(plan).entries
    except PlanError as error:
        insist(bad, f"cannot be arranged: {error}")
        return
    insist(not bad, "is arranged under names that no file can have")
    at_byte = 0
    for entry in entries:
        insist(entry.begin_byte == at_byte, "leaves a hole in its file")
        at_byte = entry.end_byte


def mutate(data: bytes, other: bytes, random: Random) -> bytes:
    """Change what a plan says, or how it is spelled."""
    text, donor = data.decode("utf-8", "replace"), other.decode("utf-8", "replace")
    return trees.mutated(text, donor, random, WORDS).encode("utf-8", "replace")


TARGET = Target(
    name="slice_table",
    aims=(
        *("wpack.plan_reader", "wpack.plan", "wpack.table", "wpack.arrangement"),
        *("wpack.untrusted", "wpack.strict_json"),
    ),
    refusals=(FormatError,),
    read=read,
    mutate=mutate,
    words=WORDS,
)
