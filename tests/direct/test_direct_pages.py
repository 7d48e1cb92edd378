"""Memory for activations: zeros, aligned, as many as were asked for, with huge pages and without."""

from __future__ import annotations

import mmap
import os

import numpy as np
import pytest

from sparsemark.direct.runtime.pages import HUGE, LINE, floats

MANY = HUGE // 4 + 3


@pytest.mark.parametrize("count", [1, 16, 1000, HUGE // 16 - 1, HUGE // 16, HUGE // 4, MANY])
def test_floats_are_zeros_at_a_line_of_the_cache_and_can_be_written(count):
    found = floats(count)
    assert (found.shape, found.dtype, found.ctypes.data % LINE) == ((count,), np.float32, 0)
    assert not found.any()
    found[:] = np.arange(count)
    np.testing.assert_array_equal(found, np.arange(count, dtype=np.float32))


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="this system has no huge pages")
def test_many_begin_at_a_huge_page_and_stay_while_they_are_used():
    found = floats(MANY)
    assert found.ctypes.data % HUGE == 0
    part = found[5:]
    del found
    part[:] = 7
    assert floats(MANY).sum() == 0
    assert part.min() == part.max() == 7


def test_a_system_without_huge_pages_has_the_same_floats(monkeypatch):
    class Refusing(mmap.mmap):
        def madvise(self, _):
            raise OSError(22, os.strerror(22))

    monkeypatch.setattr(mmap, "mmap", Refusing)
    assert floats(MANY).shape == (MANY,)
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    found = floats(MANY)
    assert (found.shape, found.ctypes.data % LINE) == ((MANY,), 0)
