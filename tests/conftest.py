"""Settings for the whole suite."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, Phase, settings

from wpack import codecs, techniques

settings.register_profile(
    "suite",
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
# Of a change made on purpose it is enough that a test fails; see docs/mutation.md.
settings.register_profile(
    "mutation",
    settings.get_profile("suite"),
    phases=(Phase.explicit, Phase.generate),
)
settings.load_profile("mutation" if "MUTANT_UNDER_TEST" in os.environ else "suite")

# Many tests fork, and a child waits for ever for the threads that its parent had.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the suite in the background has interrupts ignored, and so would
# every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    for kind in ("technique", "codec"):
        line = f"{kind}(name, …): a test of these {kind}s, gone with them"
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """A technique or a codec is one file; when that is deleted, only its own tests
    go."""
    there = {"technique": techniques.names(), "codec": codecs.names()}
    gone = [
        item
        for item in items
        if not all(
            set(names).issuperset(marker.args)
            for kind, names in there.items()
            for marker in item.iter_markers(kind)
        )
    ]
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=gone)
