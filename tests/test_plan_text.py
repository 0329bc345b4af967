"""A header's plan is JSON or JSON deflated, read back as the same plan, and refused in
one sentence where it is neither."""

from __future__ import annotations

import base64
import zlib

import pytest

from tests.blobs import chain_of, needs
from tests.handmade import coded, kept, plan_of, pooled
from wpack import plan_text
from wpack.errors import FormatError
from wpack.plan import Plan
from wpack.plan_reader import read_plan


def _plan(tensors: int) -> Plan:
    made = [pooled(f"layer.{i}.weight", (8,), ("main", 0)) for i in range(tensors)]
    return plan_of({"main": 16}, *made, kept("bias", (4,)))


def _packed(text: bytes) -> dict[str, str]:
    return {"wpool.plan.zlib": base64.b64encode(text).decode()}


def test_plain_where_nothing_is_entropy_coded() -> None:
    """A file that is read as it lies keeps a plan that people can read."""
    plan = _plan(20)

    assert {"wpool.plan": plan.to_json()} == plan_text.metadata_of(plan)


@needs("int, zstd")
def test_deflated_where_bytes_are_dear() -> None:
    """An entropy-coded file's plan is deflated, and comes back as it was."""
    plan = coded(_plan(20), {"main": chain_of("int, zstd")})
    metadata = plan_text.metadata_of(plan)

    assert ["wpool.plan.zlib"] == list(metadata)
    assert 5 * len(metadata["wpool.plan.zlib"]) < len(plan.to_json())
    assert plan == read_plan(plan_text.text_of(metadata))


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({}, "__metadata__: there is no wpool.plan"),
        (
            {"wpool.plan": "{}", **_packed(zlib.compress(b"{}"))},
            "__metadata__: there are two of wpool.plan",
        ),
        (
            {"wpool.plan.zlib": "not base64"},
            "wpool.plan.zlib: is not base64",
        ),
        (
            _packed(b"no zlib"),
            "wpool.plan.zlib: is no zlib stream, or a damaged one",
        ),
        (
            _packed(zlib.compress(b"{}")[:-1]),
            "wpool.plan.zlib: is cut short, goes on, or comes to over 2097152 bytes",
        ),
        (
            _packed(zlib.compress(b"{}") + b"!"),
            "wpool.plan.zlib: is cut short, goes on, or comes to over 2097152 bytes",
        ),
        (
            _packed(zlib.compress(bytes((2 << 20) + 1))),
            "wpool.plan.zlib: is cut short, goes on, or comes to over 2097152 bytes",
        ),
        (
            _packed(zlib.compress(b"\xff")),
            "wpool.plan.zlib: is not UTF-8",
        ),
    ],
)
def test_refused(metadata: dict[str, str], message: str) -> None:
    """Each way to be no plan has its sentence; a bomb is not inflated."""
    with pytest.raises(FormatError) as refused:
        plan_text.text_of(metadata)

    assert message == str(refused.value)


@needs("zstd")
def test_as_long_as_it_may_be() -> None:
    """What is longer is written as it is, and read."""
    chain = chain_of("zstd")
    plan = coded(_plan(1), {"main": chain})
    text = plan.to_json()
    most = text + " " * (plan_text.MOST_BYTES - len(text))
    longer = coded(_plan(25_000), {"main": chain})

    assert most == plan_text.text_of(_packed(zlib.compress(most.encode())))
    assert {"wpool.plan": longer.to_json()} == plan_text.metadata_of(longer)
