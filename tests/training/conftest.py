"""Every test decodes into a cache of its own."""

from __future__ import annotations

import pytest

from training import cache, data


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(cache, "FOLDER", folder)
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    return folder
