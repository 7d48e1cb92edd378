"""Run as Python sees it: the record, with what the report makes of it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.cells import is_reference, models
from sparsemark.analysis.front import KEEP, best
from sparsemark.errors import UserError
from sparsemark.records import run as records
from sparsemark.records.benchmark_json import extra_info
from sparsemark.records.measurement import MEASURED

if TYPE_CHECKING:
    import pandas as pd

    from sparsemark.records.measurement import Measurement


class Run(records.Run):
    """Cells that a benchmark measured, or a result file holds (`Run.load(path)`); a notebook shows them as a table."""

    @classmethod
    def of(cls, run: records.Run) -> Run:
        """Return a record as what programs see."""
        return cls(**{field.name: getattr(run, field.name) for field in fields(run)})

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each cell, by name, measured or not; columns are the fields of a file's `extra_info`."""
        import pandas as pd

        return pd.DataFrame([extra_info(m) for m in self.measurements]).set_index("cell")

    def best(
        self, keep: float | None = None, within: float | None = None, model: str | None = None
    ) -> Measurement | None:
        """Return the fastest cell that keeps the score of the dense network.

        The fastest is the one with the highest lower end of the interval of its speedup; of folds, or seeds, of one
        pruning the first is returned. Where nothing is faster than the reference, it is the reference. A pruned network
        without a score is never chosen: it may answer nonsense.

        Args:
            keep: share of the dense network's score, `KEEP` unless `within` is given; where lower is better, the score
                may grow to 1 / keep of the dense one.
            within: largest loss, in the metric's unit, in its place.
            model: name of the network, for a run of several.

        Returns:
            A row, or None where nothing was measured.

        Raises:
            UserError: both are given or one is out of range, or the run has several networks and none is named.
        """
        rows = [m for m in self.measurements if m.model == self._model(model)]
        found = best(rows, KEEP if keep is None and within is None else keep, within)
        return found or next((m for m in rows if m.status == MEASURED and is_reference(m)), None)

    def _model(self, name: str | None) -> str | None:
        known = models(self.measurements)
        if name is None and len(known) > 1:
            raise UserError(f"model: the run has several, expected one of {', '.join(map(str, known))}")
        if name is not None and name not in known:
            raise UserError(f"model {name!r}: expected one of {', '.join(map(str, known))}")
        return name if name is not None else next(iter(known), None)

    def plot(self, model: str | None = None) -> Any:
        """Draw the score against latency, or latency against what was pruned where there are no scores.

        Args:
            model: name of the network, for a run of several.

        Returns:
            Matplotlib's `Axes`; `.figure` is the figure, to show or to save.

        Raises:
            UserError: matplotlib is not installed, there is nothing to draw, or as in `best`.
        """
        from sparsemark.report.figures import figure_of

        name = self._model(model)
        figure = figure_of(self, name)
        if figure is None:
            raise UserError(f"{name}: nothing to draw; expected scores, or measured cells of several sparsities")
        return figure.axes[0]

    def _repr_html_(self) -> str:
        """Return the table of the report, for notebooks."""
        from sparsemark.report import notebook

        return notebook(self)
