"""Proportions that were observed: their exact bounds, and the table of a machine that shows them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from scipy.stats import binomtest

from sparsemark import paths
from sparsemark.files import write_atomically
from sparsemark.machine.fingerprint import machine_name
from sparsemark.report.renderers.markdown import escape

if TYPE_CHECKING:
    from collections.abc import Iterable


def bounds(count: int, of: int) -> tuple[float, float]:
    """Return the exact 95 % bounds of a share (Clopper and Pearson); none of n is one-sided, below about 3 / n."""
    interval = binomtest(count, of).proportion_ci(0.95 if 0 < count < of else 0.90, method="exact")
    return float(interval.low), float(interval.high)


def publish(stem: str, title: str, table: str, conditions: Iterable[str]) -> None:
    """Write a Markdown table and its conditions to this machine's file under `results/tables`, and show it."""
    path = paths.RESULTS / "tables" / f"{stem}-{machine_name()}.md"
    lines = "\n".join(f"- {escape(line)}" for line in conditions)
    text = f"# {title}\n\n{table}\n\n### Conditions\n\n{lines}\n"
    write_atomically(path, text.encode())
    sys.stdout.write(f"{text}\nwrote {path}\n")
