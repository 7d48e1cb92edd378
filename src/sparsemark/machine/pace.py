"""Pace of the lines of progress: that of a whole command, so that many short stages do not stay silent."""

from __future__ import annotations

import time

EVERY = 9.0
"""Seconds until the first line, which short commands never write, and between lines: below 10 on a busy machine too."""

_due: float | None = None


def begin() -> None:
    """Forget the last line: a command begins, perhaps not the first of this process."""
    global _due  # noqa: PLW0603 - one stderr a process
    _due = None


def seconds() -> float:
    """Return how long it is until the next line is due."""
    if _due is None:
        written()
    return max(0.0, (_due or 0.0) - time.monotonic())


def written() -> None:
    """Note that a line was written, or would have been."""
    global _due  # noqa: PLW0603
    _due = time.monotonic() + EVERY
