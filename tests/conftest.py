"""Settings for the whole suite."""

from __future__ import annotations

import signal

import pytest
from hypothesis import HealthCheck, settings

from wpack import techniques

settings.register_profile(
    "suite",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
settings.load_profile("suite")

# A shell that starts the suite in the background has interrupts ignored, and so would
# every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "technique(name, …): a test of these techniques, gone with them"
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """A technique is one file; when that is deleted, only its own tests go."""
    there = set(techniques.names())
    gone = [
        item
        for item in items
        if not all(there.issuperset(m.args) for m in item.iter_markers("technique"))
    ]
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=gone)
