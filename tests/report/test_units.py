"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from wpack.report import units


@pytest.mark.parametrize(
    ("nbytes", "expected"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        ((1 << 20) - 1, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (1 << 70, "1024.0 EiB"),
    ],
)
def test_size(nbytes: int, expected: str) -> None:
    """Powers of 1024 with one decimal, and never 1024.0 of a smaller unit."""

    assert expected == units.size(nbytes)


def test_both() -> None:
    """The exact number of bytes stands beside the rounded one."""

    assert units.both(412_304) == "402.6 KiB (412,304 bytes)"
    assert units.both(512) == "512 bytes"
    assert units.both(1) == "1 byte"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2.567, "2.57"),
        (1.0, "1.00"),
        (1.0000312, "1.00003"),
        (0.997, "0.997"),
        (math.inf, "inf"),
    ],
)
def test_ratio(value: float, expected: str) -> None:
    """Two decimals, unless they would say 1.00 of what is not 1."""

    assert expected == units.ratio(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(-1.0, "0 s"), (7.6, "8 s"), (59.6, "1:00"), (187.0, "3:07"), (3723.0, "1:02:03")],
)
def test_seconds(value: float, expected: str) -> None:
    """Seconds, then minutes, then hours."""

    assert expected == units.seconds(value)
