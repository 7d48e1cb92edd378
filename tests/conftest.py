"""Fixtures that tests of several folders need."""

from __future__ import annotations

import os
import signal

import pytest

# A worker of pytest-xdist marks its environment; pytest-benchmark in a pytest that a test starts would then be disabled.
os.environ.pop("PYTEST_XDIST_WORKER", None)


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also in a job that a shell started in the background and that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
