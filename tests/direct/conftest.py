"""Fixtures of the engine's tests, which are left out where its packages are not installed."""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("numba") else ["test_*.py"]


@pytest.fixture
def no_contest(monkeypatch):
    """Networks that are never handed to the dense engine for speed: these are too small to be faster."""
    monkeypatch.setattr("sparsemark.direct.network.Network._contest", lambda *arguments: (1.0, 2.0))


@pytest.fixture
def quick(monkeypatch):
    """Timing that is not meant to find the fastest."""
    monkeypatch.setattr("sparsemark.direct.autotune._REPEATS", 1)
    monkeypatch.setattr("sparsemark.direct.network._CONTEST", 1)
