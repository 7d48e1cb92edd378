"""Fixture of the tests of studies."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def _exported_once(exported_once):
    """These tests are not about the exporter."""
