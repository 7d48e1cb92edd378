"""Memory for activations, on huge pages where the system has them.

Small pages of a process lie scattered over the physical memory. Where activations fill the second-level cache, which
is indexed by physical addresses, it is chance whether they evict each other: the same file ran up to 1.6 times slower
in one process than in the next. A huge page is contiguous.
"""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING

import numpy as np

from sparsemark.direct.layout import LINE

if TYPE_CHECKING:
    from numpy.typing import NDArray

HUGE = 2 << 20
"""Bytes of a huge page on x86-64, and of the usual one on aarch64."""

_LEAST = HUGE // 4
"""Bytes from which a huge page is worth its memory: what is smaller stays in the second-level cache anyhow."""


def floats(count: int) -> NDArray[np.float32]:
    """Return zeros, float32, that begin at a line of the cache, or at a huge page where they are many."""
    size = 4 * count
    if size < _LEAST or not hasattr(mmap, "MADV_HUGEPAGE"):
        raw, step = np.zeros(size + LINE, np.uint8), LINE
    else:
        # Whole huge pages, and one more to begin at the next.
        pages = mmap.mmap(-1, -(-size // HUGE) * HUGE + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        with contextlib.suppress(OSError):  # a system that was built without them
            pages.madvise(mmap.MADV_HUGEPAGE)
        raw, step = np.frombuffer(pages, np.uint8), HUGE
    start = -raw.ctypes.data % step
    return raw[start : start + size].view(np.float32)
