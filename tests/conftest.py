"""Fixtures that tests of several folders need."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also in a job that a shell started in the background and that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
