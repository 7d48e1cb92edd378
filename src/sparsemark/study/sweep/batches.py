"""Batches: variants whose cells are checked in one task, as many as take a second."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sparsemark.specs import Variant

_SECONDS, _MOST = 1.0, 64
"""Seconds that a task is to take, and the most variants in it: each costs client and scheduler milliseconds."""


class Batches:
    """Variants to come; those of one task have the same dense network.

    Args:
        variants: in any order.
    """

    def __init__(self, variants: Iterable[Variant]) -> None:
        by_dense: dict[Variant, deque[Variant]] = {}
        for variant in variants:
            by_dense.setdefault(variant.dense, deque()).append(variant)
        self._left = deque(by_dense.values())
        self._alone: list[Variant] = []
        self._each = _SECONDS

    def take(self) -> list[Variant]:
        """Return the variants of the next task; empty where there are none now."""
        if self._alone:
            return [self._alone.pop()]
        while self._left and not self._left[0]:
            self._left.popleft()
        if not self._left:
            return []
        size = int(min(_MOST, max(1, _SECONDS / max(self._each, 1e-6))))
        first = self._left[0]
        return [first.popleft() for _ in range(min(size, len(first)))]

    def took(self, batch: Sequence[Variant], seconds: float) -> None:
        """Note how long a task took."""
        self._each = seconds / len(batch)

    def again(self, batch: Iterable[Variant]) -> None:
        """Put back variants whose task failed as a whole, each for a task alone: one of them may end any worker."""
        self._alone += batch
