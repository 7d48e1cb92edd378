"""Fixtures of the Python API's tests."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _exported_once(exported_once):
    """These tests are not about the exporter."""


@pytest.fixture
def direct(tmp_path, monkeypatch):
    """Networks run by `direct-csr`, with a new cache: small ones would be handed to the dense engine for speed."""
    pytest.importorskip("numba")
    from sparsemark.direct.runtime.machine_code import load

    load()  # not again for the empty cache
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sparsemark.direct.network.Network._contest", lambda *arguments: (1.0, 2.0))
    monkeypatch.setattr("sparsemark.direct.autotune._REPEATS", 1)
