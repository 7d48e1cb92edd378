"""Every test decodes into a cache of its own, and trains its tiny networks on one thread."""

from __future__ import annotations

import pytest
import torch

from training import cache, data


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other take longer than these networks do, above all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setattr(cache, "FOLDER", folder)
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    return folder
