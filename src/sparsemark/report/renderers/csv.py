"""A run as CSV: every field of every row, unrounded."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.contamination import contamination_of, in_words
from sparsemark.analysis.front import Bar, standings
from sparsemark.records.benchmark_json import extra_info
from sparsemark.records.measurement import MEASURED, Measurement
from sparsemark.records.scores import Score
from sparsemark.report.harmless import cell_of_csv

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sparsemark.analysis.front import Standing

_RAW = ("samples_s", "reference_s")
_STANDING = (
    "loss",
    "loss_low",
    "loss_high",
    "allowed_loss",
    "keeps_score",
    "chosen_on_select",
    "on_front",
    "dominated_by",
)
"""Derived columns, at the end; a metric called like one of them keeps its own column."""

_FULL = Score(0.0, low=0.0, high=0.0, raw=0.0, recalibrated=0.0, float32=0.0)


def as_csv(measurements: Sequence[Measurement], bar: Bar | None = None) -> str:
    """Write every field of every row but the raw samples, absent as empty; failed cells are rows too.

    Columns are named as in a result file's `extra_info`. `contaminated` is derived, in words, and so is
    `images_per_second`. A metric has a column for its value, and one for each end of its interval and each earlier
    value that some row has. Where a cell has a loss against dense, the last columns say how large it is, whether it is
    allowed, and what dominates the cell.

    Args:
        measurements: the rows.
        bar: what a network may lose and still keep its score; None takes each metric's own tolerance.
    """
    rows = [
        {
            **extra_info(one.measurement),
            "name": one.measurement.name,
            "contaminated": in_words(contamination_of(one.measurement)) or None,
            **_standing(one),
        }
        for one in standings(measurements, bar or Bar())
    ]
    known = {column for row in rows for column in row}
    return _write(rows, [column for column in (*_columns(measurements), *_STANDING) if column in known])


def _standing(one: Standing) -> dict[str, Any]:
    """Return the columns of a cell's place; empty for a cell that nothing can be held against."""
    if one.loss is None:
        return {}
    by = one.dominated_by.name if one.dominated_by else None
    ends = (one.score.loss_low, one.score.loss_high) if one.score else (None, None)
    values = (one.loss, *ends, one.allowed, one.keeps, one.by_select, one.on_front, by)
    return dict(zip(_STANDING, values, strict=True))


def table_csv(table: Iterable[Mapping[str, Any]]) -> str:
    """Write rows with the columns that any of them has, such as a row for each layer or epoch of each variant."""
    rows = list(table)
    return _write(rows, list(dict.fromkeys(column for row in rows for column in row)))


def _columns(measurements: Iterable[Measurement]) -> Iterator[str]:
    """Return names in the order of the record; the data stand beside the numbers that were taken on them."""
    for field in (f.name for f in dataclasses.fields(Measurement) if f.name not in _RAW):
        if field == "scores":
            yield from ("score_data", "score_caveat", "score_data_key")
            yield from _of_scores(dict.fromkeys(metric for m in measurements for metric in m.scores))
        elif field == "parity_data":
            yield from ("parity_data", "parity_caveat", "parity_data_key")
        elif field != "data":
            yield field
        if field == "p99_ms":
            yield "images_per_second"
        if field == "waited":
            yield "contaminated"


def _of_scores(metrics: Iterable[str]) -> Iterator[str]:
    """Return the names that the numbers of each metric have in `extra_info`."""
    blank = Measurement("", MEASURED)
    others = extra_info(blank)
    for metric in metrics:
        scored = extra_info(dataclasses.replace(blank, scores={metric: _FULL}))
        yield from (name for name in scored if name not in others)


def _write(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writerow({column: cell_of_csv(column) for column in columns})
    writer.writerows({column: cell_of_csv(value) for column, value in row.items()} for row in rows)
    return text.getvalue()
