"""Two runs as a page: what moved, by how much, and old and new beside each other."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from sparsemark.analysis.comparison import speedup_of
from sparsemark.analysis.contamination import in_words
from sparsemark.analysis.verdicts import LATENCY
from sparsemark.records.measurement import MEASURED
from sparsemark.report import wording
from sparsemark.report.harmless import (
    harmless_comparisons,
    harmless_differences,
    harmless_rows,
    harmless_verdicts,
)
from sparsemark.report.page import library, rows
from sparsemark.report.page.files import written
from sparsemark.report.page.overlaid import overlaid
from sparsemark.report.renderers.verdicts import OTHER_MACHINE, change_text, noticeable, summary_line
from sparsemark.report.scores import Scoring

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sparsemark.analysis.comparison import Comparison, Difference
    from sparsemark.analysis.verdicts import Verdict
    from sparsemark.records.measurement import Measurement

_DRAWN = 60
"""Cells in a chart, those that changed most; the table has all."""

_SLOWER, _FASTER, _SAME, _ABSENT = "slower", "faster", "not told apart", "not compared"
_CLASSES = {_SLOWER: "slower", _FASTER: "faster", _SAME: "", _ABSENT: ""}


def as_comparison_page(
    comparisons: Sequence[Comparison],
    differences: Sequence[Difference] = (),
    verdicts: Sequence[Verdict] = (),
    *,
    same_machine: bool = True,
) -> str:
    """Write two runs as one HTML document that loads nothing.

    Args:
        comparisons: of their cells.
        differences: conditions that are not the same.
        verdicts: of the gate, where it judged.
        same_machine: whether both runs come from one machine.
    """
    comparisons = sorted(harmless_comparisons(comparisons), key=_largest_first)
    verdicts = harmless_verdicts(verdicts)
    moved = [one for one in comparisons if one.latency is not None][:_DRAWN]
    interactive = library.is_installed() and bool(moved)
    judged = {one.cell: one for one in noticeable(verdicts) if one.quantity == LATENCY}
    pairs = [(one.baseline, one.candidate) for one in comparisons if one.baseline and one.candidate]
    shared = [pair for pair in pairs if all(m.status == MEASURED for m in pair)]
    both = overlaid([before for before, _ in shared], [after for _, after in shared])
    data = _data(moved, judged) if interactive else None
    if data is not None:
        data["charts"] |= both.specs
        data["values"] |= both.values
    return written(
        "comparison.html",
        data,
        both.colours,
        overlaid=both,
        title="two runs",
        when="",
        headline=_headline(comparisons, verdicts),
        warning="" if same_machine else OTHER_MACHINE,
        verdicts=[(str(one.outcome), one.cell, one.quantity, one.reason) for one in noticeable(verdicts)],
        rows=[_row(one, _scoring(comparisons)) for one in comparisons],
        differences=harmless_differences(differences),
        left_out=sum(one.latency is not None for one in comparisons) - len(moved),
    )


def _largest_first(one: Comparison) -> float:
    return -abs(one.latency.log_change.estimate) if one.latency else math.inf


def _word(one: Comparison) -> str:
    if one.latency is None:
        return _ABSENT
    interval = one.latency.log_change
    return _SLOWER if interval.low > 0 else _FASTER if interval.high < 0 else _SAME


def _headline(comparisons: Sequence[Comparison], verdicts: Sequence[Verdict]) -> str:
    counts = Counter(map(_word, comparisons))
    said = ", ".join(f"{counts[word]} {word}" for word in _CLASSES if counts[word]) or "no cells"
    worst = max(
        (one for one in comparisons if _word(one) == _SLOWER and one.latency),
        key=lambda one: one.latency.log_change.estimate if one.latency else 0.0,
        default=None,
    )
    most = (
        f"; the largest slowdown: {worst.cell}, {change_text(worst.latency.change)}" if worst and worst.latency else ""
    )
    return f"{f'Gate: {summary_line(verdicts)}. ' if verdicts else ''}{said}{most}."


def _data(moved: Sequence[Comparison], verdicts: dict[str, Verdict]) -> dict[str, Any]:
    changes, speedups = [], []
    for place, one in enumerate(moved):
        if one.latency is None:
            continue
        change, word = one.latency.change, _word(one)
        verdict = f", {verdicts[one.cell].outcome}" if one.cell in verdicts else ""
        changes.append(
            {"cell": one.cell, "place": place, "tone": word, "x": 100 * change.estimate, "low": 100 * change.low,
             "high": 100 * change.high, "label": f"{one.cell}: time {change_text(change)}, {word}{verdict}"}
        )  # fmt: skip
        for run, m in (("old", one.baseline), ("new", one.candidate)):
            speedup = speedup_of(m) if m else None
            if speedup is not None:
                speedups.append(
                    {"cell": one.cell, "place": place, "tone": word, "run": run, "x": speedup.estimate,
                     "low": speedup.low, "high": speedup.high,
                     "label": f"{one.cell}, {run}: {wording.ratio(speedup)}"}
                )  # fmt: skip
    specs = {"change": rows.changes(len(moved), changes)}
    if speedups:
        specs["overlay"] = rows.overlay(len(moved), speedups)
    empty: dict[str, Any] = {"cells": [], "drawn": [], "course": [], "panels": {}, "frames": {}, "metric": {}}
    return empty | {"charts": specs, "values": {"change": changes, "overlay": speedups}}


def _scoring(comparisons: Sequence[Comparison]) -> Scoring:
    return Scoring.of(harmless_rows(m for one in comparisons for m in (one.baseline, one.candidate) if m))


def _row(one: Comparison, scoring: Scoring) -> dict[str, Any]:
    def both(field: str) -> tuple[str, str]:
        texts = [_text(m, field, scoring) if m else wording.ABSENT for m in (one.baseline, one.candidate)]
        return texts[0], texts[1]

    return {
        "name": one.cell,
        "change": change_text(one.latency.change) if one.latency else wording.ABSENT,
        "value": one.latency.change.estimate if one.latency else "",
        "classes": _CLASSES[_word(one)],
        "verdict": _word(one),
        "pairs": [both(field) for field in ("speedup", "score", "size")],
        "note": in_words(one.latency.contaminated) if one.latency else one.why_not or "",
    }


def _text(m: Measurement, field: str, scoring: Scoring) -> str:
    if field == "size":
        return wording.size(m.artifact_bytes)
    if field == "speedup":
        interval = speedup_of(m)
        return wording.ratio(interval) if interval else wording.ABSENT
    score = scoring.score(m)
    return wording.ABSENT if score is None else scoring.scale(m.model).value(score.value)
