"""Step within an item of progress, such as an epoch of fine-tuning: named where it is done, read by whoever shows it.

One stack a process: progress is written by another thread than the one at work.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_steps: list[str] = []


@contextmanager
def at_work(step: str) -> Iterator[None]:
    """Name a step while the block runs, and the step around it afterwards.

    Args:
        step: in a few words, such as `fine-tuning, epoch 3 of 6`.
    """
    _steps.append(step)
    try:
        yield
    finally:
        _steps.pop()


def step() -> str:
    """Return the innermost step at work; empty where none is named."""
    return next(reversed(_steps), "")
