"""Choice of prunings: what was chosen beside those that were asked for, and how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sparsemark.study import rows

if TYPE_CHECKING:
    from sparsemark.records.run import Run
    from sparsemark.specs import Pruning


@dataclass(frozen=True)
class Chosen:
    """Prunings that a search or a walk ended with.

    Args:
        prunings: to be measured, the one that was looked for last; none where nothing was found.
        words: the result in one clause, with its cost.
    """

    prunings: tuple[Pruning, ...]
    words: str

    def noted(self, run: Run) -> Run:
        """Add to the rows of what was looked for how it was found."""
        text = self.prunings[-1].text if self.prunings else None
        noted = (rows.with_notes(row, [self.words]) if row.pruning == text else row for row in run.measurements)
        return replace(run, measurements=tuple(noted))
