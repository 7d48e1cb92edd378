"""Answer so far, while cells are measured."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sparsemark.analysis.merging import load_run
from sparsemark.errors import UserError
from sparsemark.report.headline import headlines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVERY_S = 10.0
"""Seconds between two answers: each takes a part of one, and cells wait for it."""


def answers_so_far(journal: Path) -> Callable[[], str]:
    """Return a function that returns the headlines of what is finished, at most every `EVERY_S` seconds anew.

    Args:
        journal: the file that finished cells are appended to.
    """
    said, last = "", -EVERY_S

    def answer() -> str:
        nonlocal said, last
        if time.monotonic() - last >= EVERY_S:
            said, last = _answer(journal), time.monotonic()
        return said

    return answer


def _answer(journal: Path) -> str:
    try:
        run = load_run(journal)
    except UserError:  # nothing is finished yet
        return ""
    return "\n".join(f"so far: {line}" for line in headlines(run)) if run.measured() else ""
