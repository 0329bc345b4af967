"""Settings for the whole suite."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

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
