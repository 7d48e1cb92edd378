"""Fakes of /proc and /sys."""

from __future__ import annotations

import pytest

from sparsemark.machine import proc


@pytest.fixture
def files(monkeypatch):
    """Files of /proc and /sys by path; empty at first, as on a machine that shows nothing."""
    content = {}
    monkeypatch.setattr(proc, "read", lambda path: content.get(path, ""))
    return content
