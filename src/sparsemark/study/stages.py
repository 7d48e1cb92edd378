"""Stages of a pipeline: each runs once for the same input, failures included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from sparsemark.errors import NotMadeError, WriteError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

MEASUREMENT_VERSION = 6
"""Raised when exporting, checking or timing changes what it makes of the same cell, so that all are measured again."""

T = TypeVar("T")


class Once:
    """Memory of the stages that ran in this process."""

    def __init__(self) -> None:
        self._done: dict[Hashable, Any] = {}

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        """Run a stage, or return what it made before, or raise what it raised."""
        if key not in self._done:
            try:
                self._done[key] = make()
            except (WriteError, NotMadeError):
                raise
            except Exception as error:
                self._done[key] = error
        done = self._done[key]
        if isinstance(done, Exception):
            raise done
        found: T = done
        return found

    def recall(self, key: Hashable, error: Exception) -> None:
        """Remember what a stage raised elsewhere."""
        self._done[key] = error
