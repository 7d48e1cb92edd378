"""Every cell of the study, timed through pytest-benchmark: `pytest bench --benchmark-json=run.json`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sparsemark.records.measurement import MEASURED, Measurement

if TYPE_CHECKING:
    from collections.abc import Callable

    from sparsemark.records.journal import Journal
    from sparsemark.specs import Cell
    from sparsemark.study.pipeline import Pipeline


def test_latency(
    latency: Callable[[Pipeline, Cell, Journal], Measurement], pipeline: Pipeline, cell: Cell, journal: Journal
) -> None:
    assert latency(pipeline, cell, journal).status == MEASURED
