"""Numbers as people read them.  Every exact count stays exact beside them."""

from __future__ import annotations

import math

_BINARY = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def count(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def size(nbytes: float) -> str:
    """``402.6 KiB``: powers of 1024, one decimal."""
    value, unit = float(nbytes), 0
    # 1023.95 would be written as 1024.0 of the smaller unit.
    while value >= 1023.95 and unit < len(_BINARY) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} bytes" if unit == 0 else f"{value:.1f} {_BINARY[unit]}"


def both(nbytes: int) -> str:
    """``402.6 KiB (412,304 bytes)``; small sizes once."""
    exact = "1 byte" if nbytes == 1 else f"{nbytes:,} bytes"
    return exact if nbytes < 1024 else f"{size(nbytes)} ({exact})"


def at_most(nbytes: int, exact: bool) -> str:
    """``1,234``, or ``at most 1,234`` of a number that is an upper bound."""
    return count(nbytes) if exact else f"at most {count(nbytes)}"


def ratio(value: float) -> str:
    """``2.57``, with more digits where two would say 1.00 of what is not."""
    if not math.isfinite(value) or value == 1 or abs(value - 1) >= 0.005:
        return f"{value:.2f}"
    return f"{value:.6g}"


def metric(value: float) -> str:
    """Four to six significant digits; ``nan`` as it is."""
    return f"{value:.6g}"


def seconds(value: float) -> str:
    """``8 s``, ``3:07``, ``1:02:03``."""
    whole = round(max(value, 0.0))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"
