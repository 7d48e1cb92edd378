"""Progress over a sequence, as whoever shows it implements it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

T = TypeVar("T")


class Watch(Protocol):
    """Progress over a sequence."""

    def __call__(self, items: Sequence[T], what: str) -> Iterable[T]:
        """Yield the items, naming each as it begins."""
